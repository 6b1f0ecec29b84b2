"""Label maps of every kind of PNG, and those that are none."""

import io
import struct
import zlib

import layouts
import numpy as np
import pytest
from PIL import Image

from jaxpart.data.label_maps import check_size, decode_labels, encode_labels, grey_png, image_size
from jaxpart.errors import JaxpartError

LABELS = layouts.label_map(3)


def palette_image(labels):
    image = Image.fromarray(labels)
    image.putpalette([value for grey in (0, 85, 170, 255) for value in (grey, grey, grey)])
    return image


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, "png", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        layouts.png(LABELS),
        layouts.png(LABELS, "P"),
        saved(Image.fromarray(LABELS.astype(np.uint16))),
        saved(palette_image(LABELS), bits=2),
    ],
    ids=["grey", "palette", "16 bits", "palette of 2 bits"],
)
def test_every_kind_of_label_png_becomes_8_bit_grey(data):
    np.testing.assert_array_equal(decode_labels(data, "x.png", 4), LABELS)
    grey = grey_png(data, "x.png")
    with Image.open(io.BytesIO(grey)) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), LABELS)


def test_one_bit_labels_are_0_and_1():
    data = saved(Image.fromarray(LABELS > 1))
    np.testing.assert_array_equal(decode_labels(grey_png(data, "x"), "x", 2), LABELS > 1)


def test_8_bit_grey_keeps_its_bytes():
    data = layouts.png(LABELS)
    assert grey_png(data, "x") is data
    assert encode_labels(LABELS) == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (layouts.png(LABELS), r"x\.png has the label 3; its labels are 0 to 2"),
        (saved(Image.fromarray(np.full((2, 2), 300, np.uint16))), r"x\.png has the label 300"),
        (layouts.png(np.zeros((2, 2, 3))), r"x\.png is a picture \(mode RGB\), no label map"),
        (layouts.jpeg(mode="CMYK"), r"x\.png is a picture \(mode CMYK\)"),
        (layouts.png(LABELS)[:50], r"x\.png is no label map that can be read"),
        (b"", r"x\.png is no label map"),
    ],
    ids=["range", "16-bit range", "RGB", "CMYK", "truncated", "empty"],
)
def test_what_is_no_label_map_is_told(data, message):
    with pytest.raises(JaxpartError, match=message):
        decode_labels(data, "x.png", 3)


def test_grey_of_two_bits_is_refused_since_pillow_scales_it():
    header = saved(palette_image(LABELS), bits=2)[:33].replace(b"\x02\x03", b"\x02\x00")
    chunk = header[12:29]
    pixels = zlib.compress((b"\0" + b"\x1b" * 3) * 8)
    data = header[:29] + struct.pack(">I", zlib.crc32(chunk))
    for kind, content in ((b"IDAT", pixels), (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + kind + content
        data += struct.pack(">I", zlib.crc32(kind + content))
    assert np.asarray(Image.open(io.BytesIO(data))).max() == 255
    with pytest.raises(JaxpartError, match=r"x\.png is a picture .* 8-bit grey"):
        grey_png(data, "x.png")


def test_sizes_are_compared_without_decoding():
    image = layouts.jpeg()
    check_size(image, "a.jpg", layouts.png(LABELS), "a.png")
    assert image_size(image, "a.jpg") == layouts.SIZE
    with pytest.raises(JaxpartError, match=r"a\.jpg has 12 × 8 pixels, .* a\.png has 8 × 12"):
        check_size(image, "a.jpg", layouts.png(LABELS.T), "a.png")
    with pytest.raises(JaxpartError, match=r"a\.jpg is an empty file"):
        image_size(b"", "a.jpg")
    with pytest.raises(JaxpartError, match=r"a\.jpg is not an image"):
        image_size(b"x" * 40, "a.jpg")

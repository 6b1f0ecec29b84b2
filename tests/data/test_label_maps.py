"""Label maps of every kind of PNG, and those that are none."""

import io
import struct
import zlib

import layouts
import numpy as np
import pytest
from PIL import Image

from jaxpart.data.images import as_png
from jaxpart.data.label_maps import LabelMaps, decoded
from jaxpart.errors import JaxpartError

LABELS = layouts.label_map(3)


def palette_image(labels):
    image = Image.fromarray(labels)
    image.putpalette([value for grey in (0, 85, 170, 255) for value in (grey, grey, grey)])
    return image


def saved(image, kind="png", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        layouts.png(LABELS),
        layouts.png(LABELS, "P"),
        saved(Image.fromarray(LABELS.astype(np.uint16))),
        saved(palette_image(LABELS), bits=2),
        layouts.png(np.stack([LABELS] * 3, axis=-1)),
        saved(Image.fromarray(np.stack([LABELS] * 3 + [LABELS * 0 + 9], axis=-1))),
        saved(Image.fromarray(np.stack([LABELS, LABELS * 0 + 9], axis=-1))),
        saved(Image.fromarray(LABELS.astype(np.float32)), "tiff"),
    ],
    ids=[
        "grey", "palette", "16 bits", "palette of 2 bits", "RGB", "RGBA", "alpha", "whole floats"
    ],
)  # fmt: skip
def test_every_kind_of_label_map_is_decoded_to_8_bits(data):
    labels = decoded(data, "x.png")
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, LABELS)


def test_one_bit_labels_are_0_and_1():
    data = saved(Image.fromarray(LABELS > 1))
    np.testing.assert_array_equal(decoded(data, "x"), LABELS > 1)


def test_8_bit_grey_keeps_its_bytes(tmp_path):
    data = layouts.png(LABELS)
    layouts.write(tmp_path / "grey.png", data)
    layouts.write(tmp_path / "palette.png", layouts.png(LABELS, "P"))
    layouts.write(tmp_path / "a.jpg", layouts.jpeg())
    pairs = [("a.jpg", "grey.png"), ("a.jpg", "palette.png")]
    source = LabelMaps("mine", "train", tmp_path, pairs, "part", ("background", "a", "b", "c"))
    grey, palette = (source[i].masks["part"] for i in range(2))
    assert grey == as_png(LABELS) == data
    np.testing.assert_array_equal(palette, LABELS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (saved(Image.fromarray(np.full((2, 2), 300, np.uint16))), r"x\.png: .* holds 300, but 255"),
        (layouts.png(np.stack([LABELS, LABELS, LABELS * 0], axis=-1)), r"x\.png is a colour image"),
        (saved(Image.fromarray(LABELS / np.float32(2)), "tiff"), r"x\.png holds fractions"),
        (layouts.jpeg(mode="L"), r"x\.png is a JPEG file, whose compression changes labels"),
        (layouts.png(LABELS, "P")[:-30], r"x\.png is truncated or damaged"),
        (b"", r"x\.png is an empty file"),
        (b"x" * 40, r"x\.png is not an image"),
    ],
    ids=["16-bit range", "RGB", "fractions", "JPEG", "truncated", "empty", "no image"],
)
def test_what_is_no_label_map_is_told(data, message):
    with pytest.raises(JaxpartError, match=message):
        decoded(data, "x.png")


def test_sixteen_bits_in_several_channels_are_told():
    """Pillow would keep the upper half of each number, and every label would become background."""
    cv2 = pytest.importorskip("cv2")
    for ending in (".png", ".tiff"):
        grey, colour = LABELS.astype(np.uint16), np.stack([LABELS.astype(np.uint16)] * 3, axis=-1)
        np.testing.assert_array_equal(decoded(cv2.imencode(ending, grey)[1].tobytes(), "x"), LABELS)
        with pytest.raises(JaxpartError, match="has 16 bits in each of several channels"):
            decoded(cv2.imencode(ending, colour)[1].tobytes(), "x")


def test_grey_of_two_bits_is_not_scaled():
    header = saved(palette_image(LABELS), bits=2)[:33].replace(b"\x02\x03", b"\x02\x00")
    chunk = header[12:29]
    pixels = zlib.compress((b"\0" + b"\x1b" * 3) * 8)
    data = header[:29] + struct.pack(">I", zlib.crc32(chunk))
    for kind, content in ((b"IDAT", pixels), (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + kind + content
        data += struct.pack(">I", zlib.crc32(kind + content))
    assert np.asarray(Image.open(io.BytesIO(data))).max() == 255
    np.testing.assert_array_equal(decoded(data, "x.png"), [[0, 1, 2, 3] * 3] * 8)


@pytest.mark.parametrize("largest", [3, 200, 255, 300, 65535])
def test_pgm_of_any_maximum_is_not_scaled(largest):
    header = b"P%d\n12 8\n%d\n"
    plain = header % (2, largest) + " ".join(map(str, LABELS.ravel())).encode() + b"\n"
    packed = header % (5, largest) + LABELS.astype(">u2" if largest > 255 else "u1").tobytes()
    for data in (plain, packed):
        np.testing.assert_array_equal(decoded(data, "x.pgm"), LABELS)

"""Decoding, cropping and resizing: every colour mode, damaged files, sizes."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from jaxpart.data.images import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    NOT_READ,
    center_crop,
    crop,
    decode,
    decode_indices,
    image_eval,
    normalize,
    patch_eval,
    patch_train,
    read_header,
    resize_shorter,
    upright_pixels,
    upright_size,
)
from jaxpart.errors import JaxpartError


def noise(width, height, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "colour", "expected"),
    [
        ("RGB", "PNG", (10, 20, 30), (10, 20, 30)),
        ("L", "PNG", 77, (77, 77, 77)),
        ("1", "PNG", 1, (255, 255, 255)),
        ("P", "PNG", 0, (0, 0, 0)),
        ("LA", "PNG", (77, 5), (77, 77, 77)),
        ("RGBA", "PNG", (10, 20, 30, 0), (10, 20, 30)),  # alpha is dropped, not blended
        ("I;16", "PNG", 200 * 257, (200, 200, 200)),  # 16 bits are scaled, not cut off at white
        ("I;16", "TIFF", 65535, (255, 255, 255)),
        ("I;16", "PPM", 300, (1, 1, 1)),
        ("CMYK", "TIFF", (255, 0, 0, 0), (0, 255, 255)),
        ("L", "JPEG", 77, (77, 77, 77)),
        ("CMYK", "JPEG", (0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_every_colour_mode_becomes_rgb(mode, kind, colour, expected):
    image = decode(encoded(Image.new(mode, (6, 4), colour), kind), "a.png")
    assert (image.mode, image.size) == ("RGB", (6, 4))
    assert image.getpixel((3, 2)) == expected


def test_decoding_is_pillows_own(samples):
    for path in sorted((samples / "imagenet").rglob("*.JPEG"))[:3]:
        with Image.open(path) as image:
            np.testing.assert_array_equal(decode(path.read_bytes(), "a"), image.convert("RGB"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_truncated_files_are_named(kind):
    data = encoded(noise(40, 30), kind)
    with pytest.raises(JaxpartError, match=r"some/a\.jpg is truncated or damaged"):
        decode(data[: len(data) // 2], "some/a.jpg")


@pytest.mark.parametrize("data", [b"hello", b"\x00" * 100])
def test_files_that_are_no_image_are_named(data):
    with pytest.raises(JaxpartError, match=r"a\.jpg is not an image"):
        decode(data, "a.jpg")


def test_empty_files_are_named():
    with pytest.raises(JaxpartError, match=r"a\.jpg is an empty file"):
        decode(b"", "a.jpg")


@given(st.sampled_from(["PNG", "JPEG"]), st.data())
def test_damage_never_raises_anything_else(kind, data):
    raw = bytearray(encoded(noise(12, 9), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(raw), "a.jpg")
    except JaxpartError as error:
        named = str(error).startswith("a.jpg is ")
    else:
        named = True
    assert named


def test_outside_the_image_is_black():
    pixels = np.asarray(crop(Image.new("RGB", (10, 10), (9, 9, 9)), (-2, -3, 4, 3)))
    assert pixels.shape == (6, 6, 3)
    assert pixels[3:, 2:].min() == 9
    assert pixels[:3].max() == pixels[:, :2].max() == 0


def test_coordinates_are_rounded_half_to_even():
    image = noise(20, 20)
    np.testing.assert_array_equal(crop(image, (0.5, 1.5, 6.5, 7.5)), crop(image, (0, 2, 6, 8)))


@pytest.mark.parametrize("box", [(3, 3, 3, 5), (3, 3, 2, 5), (1.6, 0, 2.4, 5)])
def test_an_empty_box_is_refused(box):
    with pytest.raises(JaxpartError, match="is empty"):
        patch_eval(noise(9, 9), box, 8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((500, 375), (298, 224)),
        ((375, 500), (224, 298)),
        ((224, 224), (224, 224)),
        ((3, 1), (672, 224)),
    ],
)
def test_resize_follows_torchvisions_sizes(size, expected):
    assert resize_shorter(noise(*size), 224).size == expected


def test_resize_is_pillows_antialiased_bicubic():
    image = noise(60, 60)
    expected = image.resize((20, 20), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resize_shorter(image, 20), expected)


@pytest.mark.parametrize(("width", "left"), [(11, 2), (9, 0), (13, 2), (8, 0), (10, 1)])
def test_centre_crop_rounds_as_torchvision(width, left):
    image = noise(width, 8)
    np.testing.assert_array_equal(center_crop(image, 8), np.asarray(image)[:, left : left + 8])


def test_training_patches_lose_their_margin():
    image = noise(64, 64)
    whole = image.resize((256, 256), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(
        patch_train(image, (0, 0, 64, 64)), np.asarray(whole)[16:-16, 16:-16]
    )
    np.testing.assert_array_equal(image_eval(image), patch_train(image, (0, 0, 64, 64)))


@given(
    st.tuples(*[st.floats(-30, 30)] * 2, *[st.floats(1.1, 60)] * 2), st.sampled_from([1, 16, 33])
)
def test_every_box_gives_the_same_shape(corner, size):
    left, top, width, height = corner
    box = (left, top, left + width, top + height)
    for transform in (patch_eval, patch_train):
        pixels = transform(noise(20, 16), box, size)
        assert pixels.shape == (size, size, 3)
        assert pixels.dtype == np.uint8


def test_normalize():
    pixels = np.array([[[[0, 255, 51]]]], np.uint8)
    values = normalize(pixels, (0.5, 0.5, 0.1), (0.25, 0.5, 0.1))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [[[[-2.0, 1.0, 1.0]]]], atol=1e-6)


def test_the_endings_are_those_of_pillows_formats():
    """A newer Pillow may know more, which is then to be decided here."""
    Image.init()
    read = {
        ending
        for ending, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in NOT_READ
    }
    assert read - set(IMAGE_SUFFIXES) == set()


def test_nothing_that_runs_a_program_is_opened():
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(JaxpartError, match="is not an image that Pillow can read"):
        decode(data, "a.eps")


def sixteen_bits(pixels, kind):
    return encoded(Image.fromarray(np.asarray(pixels, np.uint16)), kind)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled(kind):
    values = np.arange(0, 65536, 5).astype(np.uint16)[:13000].reshape(100, 130)
    expected = np.round(values / 257)
    found = np.asarray(decode(sixteen_bits(values, kind), "a"))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize(("mode", "kind"), [("F", "TIFF"), ("I", "TIFF")])
def test_numbers_without_a_range_are_refused(mode, kind):
    with pytest.raises(JaxpartError, match=r"a\.tif holds .* value range is undefined"):
        decode(encoded(Image.new(mode, (4, 4), 3), kind), "a.tif")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_several_frames_it_is_the_first(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    file = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)
    assert read_header(io.BytesIO(file.getvalue()), "a").frames == 3
    assert decode(file.getvalue(), "a").getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.slow
def test_large_pictures_are_read_up_to_a_bound(recwarn):
    large = encoded(Image.new("1", (20000, 5000)), "PNG")  # beyond Pillow's own limit
    assert decode(large, "a.png").size == (20000, 5000)
    assert not recwarn.list
    header = b"P4 %d %d\n" % (MAX_PIXELS // 4, 5)
    with pytest.raises(JaxpartError, match=r"a\.pbm has more than 268,435,456 pixels"):
        decode(header + b"\0" * 100, "a.pbm")


def test_large_profiles_are_no_damage():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    noise(9, 9).save(file, "PNG", icc_profile=profile + bytes(3_000_000))
    np.testing.assert_array_equal(decode(file.getvalue(), "a.png"), noise(9, 9))


def test_the_stated_size_is_compared():
    data = encoded(noise(9, 7))
    assert decode(data, "a", (9, 7)).size == (9, 7)
    with pytest.raises(JaxpartError, match="has 9 × 7 pixels, but its annotations state 7 × 9"):
        decode(data, "a", (7, 9))


def test_what_is_too_narrow_is_told():
    with pytest.raises(JaxpartError, match="9000 × 1 pixels is too narrow to be resized to 256"):
        image_eval(noise(9000, 1))


def oriented(orientation, kind):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    buffer = io.BytesIO()
    noise(12, 8).resize((48, 32)).save(buffer, kind, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_upright_is_what_opencv_reads(kind, orientation):
    data = oriented(orientation, kind)
    found = np.asarray(decode(data, "a", upright=True))
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(found, read)
    if kind != "TIFF":  # whose orientation Pillow applies itself
        assert decode(data, "a").size == (48, 32)


@pytest.mark.parametrize("exif", [b"", b"Exif\x00\x00", b"Exif\x00\x00MM\x00*\x00\x00", b"x" * 40])
def test_damaged_exif_turns_nothing(exif):
    buffer = io.BytesIO()
    noise(48, 32).save(buffer, "JPEG", exif=exif)
    assert decode(buffer.getvalue(), "a", upright=True).size == (48, 32)


def by_pillow(data):
    return np.asarray(decode(data, "a", upright=True))


def test_opencv_decodes_the_samples_as_pillow(samples):
    for path in sorted(samples.rglob("*.jpg"))[::9]:
        data = path.read_bytes()
        np.testing.assert_array_equal(upright_pixels(data, "a"), by_pillow(data))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("size", [(203, 151), (16, 16), (1, 5)])
def test_opencv_decodes_every_jpeg_as_pillow(subsampling, progressive, size):
    buffer = io.BytesIO()
    picture = noise(25, 19).resize(size)
    picture.save(buffer, "JPEG", subsampling=subsampling, progressive=progressive, quality=60)
    data = buffer.getvalue()
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(upright_pixels(data, "a"), by_pillow(data))
    np.testing.assert_array_equal(upright_pixels(data, "a"), read)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_pixels_are_turned(orientation):
    data = oriented(orientation, "JPEG")
    np.testing.assert_array_equal(upright_pixels(data, "a"), by_pillow(data))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_upright_pixels_of_other_modes_are_pillows(mode):
    data = encoded(noise(40, 30).convert(mode), "JPEG")
    np.testing.assert_array_equal(upright_pixels(data, "a"), by_pillow(data))


def test_upright_pixels_of_damaged_files_are_refused():
    data = encoded(noise(100, 80), "JPEG")
    for damaged in (data[: len(data) // 2], data[:200] + b"\xff\xd9", data[:-2]):
        with pytest.raises(JaxpartError, match="a is truncated or damaged"):
            upright_pixels(damaged, "a")
    np.testing.assert_array_equal(upright_pixels(data + b"more", "a"), by_pillow(data))


def test_iptc_is_not_opened():
    """Pillow opens what it holds as any format: PostScript too."""
    with pytest.raises(JaxpartError, match="is not an image that Pillow can read"):
        decode(b"\x1c\x03\x3c" + bytes(60), "x.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("upright", [False, True])
def test_tiff_is_turned_as_png_is(orientation, upright):
    image = Image.new("RGB", (3, 2))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x112] = orientation
    pixels, sizes = [], []
    for kind in ("PNG", "TIFF"):
        file = io.BytesIO()
        image.save(file, kind, exif=exif)
        data = file.getvalue()
        pixels.append(np.asarray(decode(data, "x", (3, 2), upright=upright)))
        sizes.append((*read_header(io.BytesIO(data), "x")[:2], *upright_size(data, "x")))
    np.testing.assert_array_equal(*pixels)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(("labels", "refused"), [((0, 1, 2), 0), ((0, 255), 0), ((0, 2, 3), 1)])
def test_a_grey_palette_that_contradicts_its_indices_is_refused(labels, refused):
    file = io.BytesIO()
    Image.fromarray(np.array([labels], np.uint8)).save(file, "GIF")
    if refused:
        with pytest.raises(JaxpartError, match="stores the grey 2 as palette index 1"):
            decode_indices(file.getvalue(), "x.gif")
    else:
        assert decode_indices(file.getvalue(), "x.gif").max() == len(labels) - 1

"""Segmentation transforms: the published geometry written out, distributions, exact padding."""

import colorsys
import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import ExifTags, Image

from jaxpart.data.resizing import resize_image, resize_labels
from jaxpart.data.segmentation_transforms import (
    SegmentationTest,
    SegmentationTrain,
    choose_crop,
    distort_colours,
    fit_size,
    inside,
)
from jaxpart.data.source import Annotation, Record
from jaxpart.errors import JaxpartError


def png(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def record(pixels, mask):
    return Record(Annotation("a.jpg"), png(pixels), {"part": png(mask)})


def noise(height, width, seed=0, high=256):
    return np.random.default_rng(seed).integers(0, high, (height, width, 3), np.uint8)


def gradient(height, width):
    """A picture whose colour tells the place: red is the column, green the row."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([columns, rows, np.zeros_like(rows)], -1)


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((683, 512), (2048, 512), (683, 512)),
        ((500, 375), (2048, 512), (683, 512)),
        ((375, 500), (512, 2048), (512, 683)),  # the scale's order says nothing
        ((3000, 500), (2048, 512), (2048, 341)),  # the longest side decides
        ((500, 333), (520, 520), (520, 346)),
        ((300, 200), (4096, 320), (480, 320)),
        ((5, 2), (3, 1), (3, 1)),
    ],
)
def test_sizes_are_those_of_mmcv(size, scale, expected):
    assert fit_size(size, scale) == expected


def test_a_side_that_vanishes_is_refused():
    with pytest.raises(JaxpartError, match="3000 × 2 pixels cannot be resized to fit"):
        fit_size((3000, 2), (100, 50))


@pytest.mark.parametrize("rule", ["opencv", "pillow"])
def test_test_images_are_resized_and_labels_kept(rule):
    pixels, mask = noise(30, 40), noise(30, 40, 1, 5)[..., 0]
    test = SegmentationTest("part", 5, (100, 60), resize=rule)
    out = test(record(pixels, mask), np.random.default_rng(0))
    np.testing.assert_array_equal(out["image"], resize_image(pixels, (80, 60), rule))
    np.testing.assert_array_equal(out["label"], np.where(mask, mask - 1, 255))
    kept = SegmentationTest("part", 5, (100, 60), ignore_background=False)
    np.testing.assert_array_equal(
        kept(record(pixels, mask), np.random.default_rng(0))["label"], mask
    )


@pytest.mark.parametrize("kind", ["test", "train"])
def test_exif_turns_the_image_and_not_its_label_map(kind):
    """As OpenCV and Pillow read them; both pipelines refuse a label map of the unturned image."""
    lying, mask = gradient(16, 24), np.ones((24, 16), np.uint8)
    mask[:, :8] = 2
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned clockwise
    item = Record(Annotation("a.png"), png(lying, exif=exif), {"part": png(mask)})
    transform = {
        "test": SegmentationTest("part", 3, (24, 16)),
        "train": SegmentationTrain("part", 3, (24, 16), crop=48),
    }[kind]
    out = transform(item, Plain(0, flip=False))
    upright = np.rot90(lying, -1)
    if kind == "test":
        np.testing.assert_array_equal(out["image"], upright)
        np.testing.assert_array_equal(out["label"], mask - 1)
    else:
        height, width = out["size"]
        assert height > width
        top = out["image"][0, :width].astype(int)
        assert np.abs(top[:, 0]).max() <= 1  # the first column lies on top,
        assert (np.diff(top[:, 1]) <= 0).all()  # the last row leftmost
    turned = dataclasses.replace(item, masks={"part": png(mask.T.copy())})
    with pytest.raises(
        JaxpartError, match=r"a\.png \(part mask\) is 24 × 16 .* 16 × 24 once .*EXIF"
    ):
        transform(turned, Plain(0, flip=False))


class Plain(np.random.Generator):
    """Random numbers under which no colour changes: all of `random()` but the flip's are 0.9."""

    def __init__(self, seed, flip):
        super().__init__(np.random.PCG64(seed))
        self._coins = iter([0.1 if flip else 0.9])

    def random(self, *args):
        return next(self._coins, 0.9)


@pytest.mark.parametrize("rule", ["opencv", "pillow"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_training_geometry_written_out(seed, flip, rule):
    pixels, mask = noise(30, 44), noise(30, 44, 1, 5)[..., 0]
    train = SegmentationTrain("part", 5, (80, 32), resize=rule, crop=32)
    out = train(record(pixels, mask), Plain(seed, flip))

    same = np.random.default_rng(seed)
    ratio = same.uniform(0.5, 2.0)
    width, height = fit_size((44, 30), (int(80 * ratio), int(32 * ratio)))
    image = resize_image(pixels, (width, height), rule)
    label = resize_labels(mask, (width, height), rule)
    left = same.integers(max(width - 32, 0) + 1)
    top = same.integers(max(height - 32, 0) + 1)
    image, label = (a[top : top + 32, left : left + 32] for a in (image, label))
    if flip:
        image, label = image[:, ::-1], label[:, ::-1]
    rows, columns = label.shape
    assert out["size"].tolist() == [rows, columns]
    np.testing.assert_array_equal(out["image"][:rows, :columns], image)
    np.testing.assert_array_equal(
        out["label"][:rows, :columns], np.where(label, label.astype(int) - 1, 255)
    )
    assert (out["label"][rows:] == 255).all()
    assert (out["label"][:, columns:] == 255).all()
    assert out["image"].shape == (32, 32, 3)


def test_padding_is_exactly_0_after_normalisation():
    size, shape = np.array([[3, 5], [4, 4], [0, 0]], np.int32), (4, 5)
    expected = np.zeros((3, 4, 5, 1), bool)
    expected[0, :3], expected[1, :, :4] = True, True
    np.testing.assert_array_equal(inside(size, shape), expected)
    images = jnp.ones((3, *shape, 3))
    masked = jax.jit(lambda s: jnp.where(inside(s, shape), images, 0))(size)
    np.testing.assert_array_equal(masked, np.broadcast_to(expected, images.shape))


def samples(count, seed=0):
    """Many draws of a picture whose pixels tell where they come from, colours left alone."""
    train = SegmentationTrain("part", 255, (64, 64), crop=32)
    item = record(gradient(64, 64), np.indices((64, 64)).sum(0).astype(np.uint8) + 1)
    for i in range(count):
        yield train(item, np.random.default_rng((seed, i)))


def test_ratios_are_uniform_and_half_is_flipped():
    scales, flipped = [], []
    for out in samples(400):
        label = out["label"][0, : out["size"][1]].astype(float)
        slope = np.polyfit(np.arange(len(label)), label, 1)[0]
        flipped.append(slope < 0)
        scales.append(1 / abs(slope))
    scales = np.array(scales)
    counts = np.histogram(scales, np.linspace(0.5, 2.0, 6))[0]
    assert counts.min() > 50  # 80 expected in each fifth
    assert counts.sum() >= 390  # a slope is measured, so that a few lie beyond the ends
    assert 160 < sum(flipped) < 240


def test_crops_lie_anywhere():
    label = np.tile(np.arange(40, dtype=np.uint8), (36, 1))
    random = np.random.default_rng(0)
    boxes = np.array([choose_crop(label, 32, random) for _ in range(900)])
    assert (boxes[:, 2:] - boxes[:, :2] == 32).all()
    for corner, places in ((boxes[:, 0], 9), (boxes[:, 1], 5)):
        counts = np.bincount(corner, minlength=places)
        assert len(counts) == places
        assert counts.min() > 0.65 * 900 / places


def test_a_short_side_is_taken_whole():
    label = np.tile(np.arange(20, dtype=np.uint8), (40, 1))
    left, top, right, bottom = choose_crop(label, 32, np.random.default_rng(0))
    assert (left, right, bottom - top) == (0, 20, 32)


def share(label, box):
    left, top, right, bottom = box
    counts = np.bincount(label[top:bottom, left:right].ravel(), minlength=256)[:255]
    return counts.max() / max(counts.sum(), 1)


def test_no_class_has_over_75_percent_where_that_can_be():
    """One column in two of the places will do, so that ten tries find one nearly always."""
    label = np.full((16, 64), 255, np.uint8)
    label[:, :40], label[:, 40:44] = 1, 2  # ignored pixels do not count
    random = np.random.default_rng(0)
    shares = [share(label, choose_crop(label, 16, random)) for _ in range(200)]
    places = [share(label, (left, 0, left + 16, 16)) for left in range(49)]
    free = np.mean(np.array(places) >= 0.75)
    assert 0.5 < free < 0.9
    # all ten fail with free¹⁰, and the eleventh is taken as it comes
    assert np.mean(np.array(shares) >= 0.75) < 3 * free**10 + 0.02


@pytest.mark.parametrize("value", [7, 255])
def test_where_no_crop_will_do_the_last_is_taken(value):
    """A map of one class, or with none at all, still gives a crop: the eleventh."""
    label = np.full((20, 50), value, np.uint8)
    random, same = np.random.default_rng(3), np.random.default_rng(3)
    box = choose_crop(label, 16, random)
    for _ in range(11):
        left, top = same.integers(35), same.integers(5)
    assert box[:2] == (left, top)


class Scripted:
    """Random numbers as a test writes them down: brightness, contrast, (first), saturation, hue."""

    def __init__(self, coins, values=(), hue=0):
        self._coins, self._values, self._hue = iter(coins), iter(values), hue

    def random(self):
        return 0.1 if next(self._coins) else 0.9

    def uniform(self, low, high):
        value = next(self._values)
        assert low <= value <= high
        return value

    def integers(self, low, high):
        assert (low, high) == (-18, 18)
        return self._hue


COLOURS = noise(16, 16, 4)


def reference(steps):
    """The published arithmetic: float32, clipped and cut to whole levels after every step."""
    pixels = COLOURS
    for factor, offset in steps:
        moved = pixels.astype(np.float32) * np.float32(factor) + np.float32(offset)
        pixels = np.clip(moved, 0, 255).astype(np.uint8)
    return pixels


@pytest.mark.parametrize(
    ("coins", "values", "steps"),
    [
        ((1, 0, 0, 0), (20.5,), [(1, 20.5)]),
        ((1, 0, 0, 0), (-31.9,), [(1, -31.9)]),
        ((0, 1, 1, 0, 0), (1.37,), [(1.37, 0)]),
        ((0, 1, 0, 0, 0), (0.51,), [(0.51, 0)]),
        ((1, 1, 1, 0, 0), (30.3, 0.7), [(1, 30.3), (0.7, 0)]),
        ((1, 1, 0, 0, 0), (-30.3, 1.4), [(1, -30.3), (1.4, 0)]),
    ],
)
def test_brightness_and_contrast_written_out(coins, values, steps):
    changed = distort_colours(COLOURS, Scripted(coins, values))
    np.testing.assert_array_equal(changed, reference(steps))


@pytest.mark.parametrize(("saturation", "hue"), [(1.5, 0), (0.5, 0), (1, 17), (1, -18), (0.8, 9)])
def test_saturation_and_hue_are_those_of_an_exact_hsv(saturation, hue):
    """Up to the rounding of OpenCV's HSV of 8 bits."""
    random = Scripted((0, 0, saturation != 1, hue != 0), (saturation,), hue)
    changed = distort_colours(COLOURS, random).astype(int)
    for pixel, found in zip(COLOURS.reshape(-1, 3), changed.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
        exact = colorsys.hsv_to_rgb((h + hue / 180) % 1, min(s * saturation, 1), v)
        assert np.abs(found - np.array(exact) * 255).max() <= 10


def test_contrast_may_come_before_or_after_saturation():
    first, last = (
        distort_colours(COLOURS, Scripted(coins, (1.5, 0.5)))
        for coins in ((0, 1, 1, 1, 0), (0, 1, 0, 1, 0))
    )
    after = np.clip(COLOURS.max(-1) * 1.5, 0, 255).astype(int)  # saturation keeps the largest
    for found in (first, last):
        assert np.abs(found.max(-1) - after).max() <= 1
    assert np.abs(first.astype(int) - last).max() > 50  # clipping comes before or after the mixing


def distorted(colour, count=1000):
    image, random = np.array([[colour]], np.uint8), np.random.default_rng(0)
    return np.array([distort_colours(image, random)[0, 0] for _ in range(count)])


def test_ranges_of_colour_distortion():
    grey = distorted((100, 100, 100))
    assert (grey == grey[:, :1]).all()  # hue and saturation leave grey alone
    assert grey.min() >= (100 - 32) * 0.5 - 1
    assert grey.max() <= (100 + 32) * 1.5
    assert grey.min() < 50
    assert grey.max() > 170
    untouched = (grey[:, 0] == 100).mean()
    assert 0.18 < untouched < 0.32  # neither brightness nor contrast: a quarter


def test_hue_and_saturation_change_as_the_published_code_does():
    """Where the largest channel stays, only saturation and hue changed: look at both."""
    colours = distorted((200, 120, 80))
    hsv = np.array([colorsys.rgb_to_hsv(*(c / 255)) for c in colours[colours.max(1) == 200]])
    hue = (hsv[:, 0] * 360 - 20 + 180) % 360 - 180
    saturation = hsv[:, 1] / 0.6
    assert -39 < hue.min() < -25
    assert 25 < hue.max() < 37
    assert 0.45 < saturation.min() < 0.6
    assert 1.4 < saturation.max() < 1.55
    assert 0.35 < (np.abs(hue) < 1.5).mean() < 0.7


def test_one_picture_in_sixteen_keeps_its_colours():
    image, random = noise(4, 4, 2), np.random.default_rng(0)
    drawn = [distort_colours(image, random).tobytes() for _ in range(320)]
    assert 8 < drawn.count(image.tobytes()) < 36
    assert len(set(drawn)) > 250

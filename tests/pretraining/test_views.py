"""Views, augmentations, masks and tokens: against Pillow and torchvision, and by their statistics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxpart.pretraining import augment, crops, masks, tokenizer

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (24, 20, 3)).astype(np.uint8)
SMOOTH = np.asarray(Image.fromarray(PIXELS[:6, :5]).resize((20, 24), Image.Resampling.BICUBIC))
IMAGE = jnp.asarray(SMOOTH, jnp.float32) / 255


@pytest.mark.slow
def test_crop_is_pillows_bicubic():
    draws = RANDOM.uniform(size=22).astype(np.float32)
    view = crops.ViewConfig(8, (0.3, 0.6))
    top, left, h, w = np.asarray(crops.crop_box(draws, 24, 20, view))
    assert 0.3 <= h * w / 480 <= 0.6
    assert 3 / 4 - 1e-5 <= w / h <= 4 / 3 + 1e-5
    ours = crops.random_resized_crop(draws, IMAGE, view)
    box = (left, top, left + w, top + h)
    theirs = Image.fromarray(SMOOTH).resize((8, 8), Image.Resampling.BICUBIC, box=box)
    # Pillow's filter reaches over the box's border, and it rounds to whole levels.
    inner = np.abs(np.asarray(ours)[2:-2, 2:-2] * 255 - np.asarray(theirs)[2:-2, 2:-2])
    assert inner.max() <= 1.01


def test_crops_lie_inside_and_have_the_shares_asked_for():
    draws = jnp.asarray(RANDOM.uniform(size=(500, 22)), jnp.float32)
    view = crops.ViewConfig(8, (0.2, 1.0))
    boxes = jax.vmap(lambda d: crops.crop_box(d, 96, 96, view))(draws)
    top, left, h, w = np.asarray(boxes).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + h <= 96.001).all()
    assert (left + w <= 96.001).all()
    share = h * w / 96**2
    assert share.min() >= 0.199
    assert 0.5 < share.mean() < 0.6  # large shares of a square fit with few aspect ratios
    view = crops.ViewConfig(8, (0.02, 0.5), log_scale=True)
    boxes = jax.vmap(lambda d: crops.crop_box(d, 96, 96, view))(draws)
    share = np.asarray(boxes)[:, 2:].prod(axis=1) / 96**2
    assert np.median(share) == pytest.approx(0.1, rel=0.2)  # the geometric mean of both ends
    assert share.min() >= 0.0199
    assert share.max() <= 0.501
    impossible = crops.crop_box(draws[0], 10, 100, crops.ViewConfig(8, (0.9, 1.0)))
    assert np.asarray(impossible)[2:] == pytest.approx([10, 40 / 3])


@pytest.mark.slow
def test_turning_is_pillows_inside_and_mirrors_the_border():
    angle = 25.0
    ours = np.asarray(crops.turn(IMAGE, jnp.radians(angle))) * 255
    theirs = Image.fromarray(SMOOTH).rotate(angle, Image.Resampling.BILINEAR)
    black = Image.new("L", (20, 24))
    black.paste(255, (1, 1, 19, 23))
    inside = np.asarray(black.rotate(angle, Image.Resampling.BILINEAR)) == 255
    # Pillow mixes pixels in steps of 1/256 and rounds.
    assert np.abs(ours - np.asarray(theirs))[inside].max() <= 2
    quarter = np.asarray(crops.turn(IMAGE[:20], jnp.radians(90.0)))
    np.testing.assert_allclose(quarter, np.rot90(IMAGE[:20]), atol=1e-4)
    assert np.asarray(crops.turn(jnp.ones((9, 7, 3)), jnp.radians(45.0))) == pytest.approx(1)
    config = crops.ViewConfig(20, (1.0, 1.0), flip=0.0, turn=10.0)
    views = crops.make_views(jax.random.key(0), SMOOTH[None, :20], config, 2)
    assert float(jnp.abs(views[0, 0] - views[0, 1]).max()) > 0.01  # each by its own angle


def test_colours_are_torchvisions():
    pytest.importorskip("torch")
    torch, transforms = pytest.importorskip("torch"), pytest.importorskip("torchvision.transforms")
    functional = transforms.functional
    theirs = torch.from_numpy(np.array(IMAGE).transpose(2, 0, 1))
    draws, strength = np.array([0.3, 0.8, 0.1, 0.9], np.float32), (0.4, 0.4, 0.2, 0.1)
    factors = [1 - s + 2 * s * d for s, d in zip(strength[:3], draws[:3], strict=True)]
    theirs = functional.adjust_brightness(theirs, factors[0])
    theirs = functional.adjust_contrast(theirs, factors[1])
    theirs = functional.adjust_saturation(theirs, factors[2])
    theirs = functional.adjust_hue(theirs, strength[3] * (2 * draws[3] - 1))
    ours = crops.color_jitter(draws, IMAGE, strength)
    # torchvision's grey has coefficients of four digits.
    assert np.abs(np.asarray(ours) - theirs.numpy().transpose(1, 2, 0)).max() <= 1e-3


def test_blur_keeps_the_mean_and_takes_the_detail():
    noise = jnp.asarray(RANDOM.uniform(size=(32, 32, 3)), jnp.float32)
    blurred = crops.gaussian_blur(noise, 2.0)
    assert np.asarray(crops.gaussian_blur(jnp.ones((9, 7, 3)), 1.3)) == pytest.approx(1, abs=1e-6)
    assert float(blurred.std()) < 0.3 * float(noise.std())
    np.testing.assert_allclose(crops.gaussian_blur(noise, 0.1), noise, atol=1e-6)


def test_views_follow_from_the_key_and_each_has_its_own_chances():
    config = crops.ViewConfig(16, (1.0, 1.0), flip=0.5, solarize=(0.0, 1.0))
    images = np.stack([PIXELS[:20, :20]] * 3)
    make = jax.jit(lambda key: crops.make_views(key, images, config, 2))
    one, again, other = (make(jax.random.key(seed)) for seed in (1, 1, 2))
    assert one.shape == (3, 2, 16, 16, 3)
    np.testing.assert_array_equal(one, again)
    inverted = [bool((one[i, 1] <= 0.5).all()) for i in range(3)]
    assert all(inverted)  # after the first view's values of one half and above were turned over
    assert (one[:, 0] > 0.5).any()
    assert (np.asarray(one) != np.asarray(other)).any()


@pytest.mark.slow
def test_images_are_enlarged_by_factors_up_to_the_zoom():
    ramp = np.broadcast_to(np.arange(0, 64, 2, np.uint8)[:, None, None], (50, 32, 32, 3))
    near = np.asarray(crops.enlarge(jax.random.key(0), ramp, 4.0), float)
    assert near.shape == ramp.shape
    assert near.max() <= 62
    assert (near == near[:, :, :1, :1]).all()  # the ramp goes down, not across
    slopes = (near[:, -4, 0, 0] - near[:, 3, 0, 0]) / 25  # borders are extrapolated
    assert 0.4 <= slopes.min() < 0.7
    assert 1.6 < slopes.max() <= 2.1
    assert abs(np.median(slopes) - 1) < 0.25  # the middle of the logarithms


@pytest.mark.slow
def test_a_view_may_be_inverted():
    images = np.stack([PIXELS[:20, :20]] * 2)
    plain = crops.ViewConfig(16, (1.0, 1.0), flip=0.0)
    inverted = dataclasses.replace(plain, invert=1.0)
    one, other = (crops.make_views(jax.random.key(0), images, c) for c in (plain, inverted))
    np.testing.assert_allclose(one + other, 1, atol=1e-6)


def operate(name, level=0.9, signed=0.9):
    index = jnp.asarray(augment.OPERATIONS.index(name))
    ours = jax.jit(augment.apply_operation)(IMAGE, index, jnp.float32(level), jnp.float32(signed))
    return np.asarray(ours) * 255


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("autocontrast", ImageOps.autocontrast),
        ("equalize", ImageOps.equalize),
        ("invert", ImageOps.invert),
        ("posterize", lambda image: ImageOps.posterize(image, 4 - int(0.9 * 4))),
        ("solarize", lambda image: ImageOps.solarize(image, 256 - int(0.9 * 256))),
        ("color", lambda image: ImageEnhance.Color(image).enhance(1.81)),
        ("contrast", lambda image: ImageEnhance.Contrast(image).enhance(1.81)),
        ("brightness", lambda image: ImageEnhance.Brightness(image).enhance(1.81)),
        ("sharpness", lambda image: ImageEnhance.Sharpness(image).enhance(1.81)),
    ],
)
def test_operations_are_pillows(name, theirs):
    expected = np.asarray(theirs(Image.fromarray(SMOOTH)), float)
    assert np.abs(operate(name) - expected).max() <= 2  # whole levels there, rounded twice


def test_warps():
    moved = operate("translate_x", signed=0.5)
    shift = 0.45 * 0.5 * 20
    expected = SMOOTH[:, 4:12].astype(float) * (1 - shift % 1) + SMOOTH[:, 5:13] * (shift % 1)
    assert np.abs(moved[:, :8] - expected).max() <= 0.01
    outside = np.array(crops.IMAGENET_MEAN) * 255
    assert np.abs(moved[:, -3:] - outside).max() <= 0.01
    for name in ("rotate", "shear_x", "shear_y", "translate_y"):
        assert np.abs(operate(name, 0.0, 0.0) - SMOOTH).max() <= 0.01
        assert np.abs(operate(name) - SMOOTH).max() > 10


@pytest.mark.slow
def test_mixing_keeps_the_labels_share():
    images = jnp.zeros((6, 16, 16, 3)).at[:3].set(1.0)
    targets = jax.nn.one_hot(jnp.arange(6) // 3, 2)
    for seed in range(6):
        mixed, soft = augment.mix(jax.random.key(seed), images, targets, mixup=0.8, cutmix=1.0)
        np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)), soft[:, 0], atol=1e-5)
    same, labels = augment.mix(jax.random.key(0), images, targets, mixup=0.0, cutmix=1.0)
    assert same is images
    assert labels is targets


def test_erasing():
    draws, noise = RANDOM.uniform(size=(200, 5)), jnp.ones((32, 32, 3))
    erase = jax.vmap(lambda d: augment.erase(d, noise, jnp.zeros((32, 32, 3)), 0.25))
    share = np.asarray(erase(jnp.asarray(draws, jnp.float32))).mean(axis=(1, 2, 3))
    assert 0.15 < (share > 0).mean() < 0.35
    assert share[share > 0].min() > 0.01
    assert share.max() < 0.36


def test_random_masks_hide_exactly_and_evenly():
    mask = np.asarray(masks.random_mask(jax.random.key(0), (400, 16), 12))
    assert (mask.sum(axis=1) == 12).all()
    assert np.abs(mask.mean(axis=0) - 0.75).max() < 0.1
    several = masks.random_mask(jax.random.key(0), (3, 16), jnp.array([0, 5, 16]))
    np.testing.assert_array_equal(several.sum(axis=1), [0, 5, 16])


@pytest.mark.slow
@pytest.mark.parametrize("exact", [True, False])
def test_block_masks(exact):
    mask = np.asarray(
        masks.block_mask(jax.random.key(0), 200, (14, 14), 75, smallest=16, exact=exact)
    )
    hidden = mask.sum(axis=1)
    assert hidden.max() == 75 if exact else hidden.max() <= 75
    assert hidden.min() == 75 if exact else hidden.min() >= 55
    grid = mask.reshape(200, 14, 14)
    beside = (grid[:, 1:] & grid[:, :-1]).sum() / grid[:, :-1].sum()
    assert beside > 0.65  # 0.38 where patches are hidden one by one
    assert len(np.unique(mask, axis=0)) == 200
    none = masks.block_mask(jax.random.key(1), 2, (4, 4), jnp.array([0, 7]), smallest=1, exact=True)
    np.testing.assert_array_equal(none.sum(axis=1), [0, 7])


def test_visible_and_hidden_patches_come_in_patch_order():
    mask = np.array([[1, 0, 0, 1, 1], [0, 1, 1, 0, 1]], bool)
    visible, hidden = masks.split(mask, 3)
    np.testing.assert_array_equal(visible, [[1, 2], [0, 3]])
    np.testing.assert_array_equal(hidden, [[0, 3, 4], [1, 2, 4]])


def test_tokens_are_the_nearest_centres():
    centers = RANDOM.normal(size=(5, 12)) * 10
    points = np.repeat(centers, 40, axis=0) + RANDOM.normal(size=(200, 12)) * 0.1
    found = np.asarray(jax.jit(tokenizer.kmeans, static_argnums=2)(jax.random.key(0), points, 5))
    distance = np.linalg.norm(found[:, None] - centers[None], axis=-1)
    assert sorted(distance.argmin(axis=1)) == [0, 1, 2, 3, 4]
    assert distance.min(axis=1).max() < 0.1
    expected = np.linalg.norm(points[:, None] - found[None], axis=-1).argmin(axis=1)
    np.testing.assert_array_equal(tokenizer.nearest(points, found), expected)

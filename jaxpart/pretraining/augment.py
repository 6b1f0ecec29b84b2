"""The augmentations of supervised training, on the device: RandAugment, erasing, mixup and CutMix.

As in timm, which DeiT uses (`auto_augment.py`, `random_erasing.py`, `mixup.py`). RandAugment's
operations are of three kinds (a tone curve per channel, a blend with a filtered image, a warp), so each
image costs one of each, whichever operation is drawn.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxpart.encoders.families import IMAGENET_MEAN
from jaxpart.pretraining.crops import Image, blend, grayscale, sampled

_TONES = (
    "identity",
    "autocontrast",
    "equalize",
    "invert",
    "posterize",
    "solarize",
    "solarize_add",
    "contrast",
    "brightness",
)
_BLENDS = ("color", "sharpness")
_WARPS = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*_TONES[1:], *_BLENDS, *_WARPS)
"""The 15 of timm's increasing set."""


def rand_augment(draws: Float[Array, "layers 4"], image: Image, magnitude: float) -> Image:
    """timm's "rand-m9-mstd0.5-inc1" for magnitude 9 and two layers.

    The image has values in [0, 1]. Draws are uniform, and half of the operations are applied; the
    magnitude, 0 to 10, is a mean with a standard deviation of 0.5.
    """
    for choice, use, strength, sign in draws:
        normal = jax.scipy.special.ndtri(jnp.clip(strength, 1e-6, 1 - 1e-6))
        level = jnp.clip(magnitude + 0.5 * normal, 0, 10) / 10
        signed = jnp.where(sign < 0.5, level, -level)
        operation = jnp.floor(choice * len(OPERATIONS)).astype(int)
        image = jnp.where(use < 0.5, apply_operation(image, operation, level, signed), image)
    return image


def apply_operation(image: Image, operation: Int[Array, ""], level: Array, signed: Array) -> Image:
    """Applies one of `OPERATIONS`, by index.

    The image has values in [0, 1]; the strength is a level from 0 to 1, and `signed` it or its negative.
    """
    levels = jnp.round(image * 255).astype(int)
    factor = jnp.maximum(0.1, 1 + 0.9 * signed)
    tone = jnp.where(operation < len(_TONES) - 1, operation + 1, 0)
    curve = _tone_curves(levels, level, factor)[tone]
    # Channels before pixels: with the three of them last, a TPU moves 29 times as many bytes.
    toned = jnp.take_along_axis(curve, levels.reshape(-1, 3).T, axis=1).T.reshape(image.shape) / 255
    toned = jnp.where(tone > 0, toned, image)
    first_blend = len(_TONES) - 1
    color = blend(grayscale(toned), toned, factor)
    sharp = blend(_smooth(toned), toned, factor)
    mixed = jnp.where(operation == first_blend, color, toned)
    mixed = jnp.where(operation == first_blend + 1, sharp, mixed)
    return _warp(mixed, operation - first_blend - len(_BLENDS), signed)


def _tone_curves(
    levels: Int[Array, "height width 3"], level: Array, factor: Array
) -> Float[Array, "curve 3 256"]:
    x = jnp.arange(256.0)
    flat = levels.reshape(-1, 3)
    low, high = flat.min(axis=0)[:, None], flat.max(axis=0)[:, None]
    stretched = jnp.where(high > low, jnp.round((x - low) * 255 / jnp.maximum(high - low, 1)), x)
    counts = jnp.zeros((256, 3)).at[flat, jnp.arange(3)].add(1).T
    stride = jnp.floor((len(flat) - jnp.take_along_axis(counts, high, axis=1)) / 255)
    before = jnp.cumsum(counts, axis=1) - counts
    spread = jnp.floor((jnp.floor(stride / 2) + before) / jnp.maximum(stride, 1))
    step = 2.0 ** (4 + jnp.floor(level * 4))  # 8 bits minus those kept
    threshold = 256 - jnp.floor(level * 256)
    mean = jnp.round(grayscale(levels).mean())
    curves = (
        x,
        stretched,
        jnp.where(stride > 0, spread, x),
        255 - x,
        jnp.floor(x / step) * step,
        jnp.where(x < threshold, x, 255 - x),
        jnp.where(x < 128, x + jnp.floor(level * 110), x),
        mean + factor * (x - mean),
        factor * x,
    )
    return jnp.clip(jnp.stack([jnp.broadcast_to(curve, (3, 256)) for curve in curves]), 0, 255)


def _smooth(image: Image) -> Image:
    """Pillow's SMOOTH filter, a 3×3 mean with weight 5 at the centre; borders are unchanged."""
    rows = image[:-2] + image[1:-1] + image[2:]
    inner = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * image[1:-1, 1:-1]) / 13
    return image.at[1:-1, 1:-1].set(inner)


def _warp(image: Image, warp: Array, signed: Array) -> Image:
    """Applies `_WARPS[warp]`, bilinear, padded with the mean colour; a no-op if `warp` is negative."""
    height, width, _ = image.shape
    angle = jnp.where(warp == 0, signed * math.radians(30), 0)
    shear_x, shear_y = (jnp.where(warp == i, 0.3 * signed, 0) for i in (1, 2))
    move_x = jnp.where(warp == 3, 0.45 * signed * width, 0)
    move_y = jnp.where(warp == 4, 0.45 * signed * height, 0)
    # Rotation is about the centre; shears fix the upper left corner, as Pillow's transform does.
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    dx, dy = x - center_x, y - center_y
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    source_x = center_x + cos * dx - sin * dy + shear_x * y + move_x
    source_y = center_y + sin * dx + cos * dy + shear_y * x + move_y
    mean = jnp.asarray(IMAGENET_MEAN)
    moved = sampled(image - mean, source_y, source_x, "constant") + mean
    return jnp.where(warp >= 0, moved, image)


def erase(draws: Float[Array, " draws"], noise: Image, image: Image, chance: float) -> Image:
    """Random erasing: replaces a rectangle of a normalised image with noise.

    Its area is 0.02 to 1/3 of the image, its aspect ratio 0.3 to 3.3.
    """
    use, area, ratio, down, right = draws
    height, width, _ = image.shape
    target = height * width * (0.02 + (1 / 3 - 0.02) * area)
    aspect = jnp.exp(math.log(0.3) * (2 * ratio - 1))
    h = jnp.minimum(jnp.round(jnp.sqrt(target * aspect)), height - 1)
    w = jnp.minimum(jnp.round(jnp.sqrt(target / aspect)), width - 1)
    top, left = jnp.floor(down * (height - h)), jnp.floor(right * (width - w))
    inside = _rectangle(height, width, top, left, h, w) & (use < chance)
    return jnp.where(inside[..., None], noise, image)


def mix(
    key: Array,
    images: Float[Array, "batch height width 3"],
    targets: Float[Array, "batch classes"],
    *,
    mixup: float,
    cutmix: float,
) -> tuple[Float[Array, "batch height width 3"], Float[Array, "batch classes"]]:
    """Mixup or CutMix, with equal probability, of a batch with itself in reverse order.

    `mixup` and `cutmix` are the α of their Beta distributions; mixup 0 disables both.
    """
    if not mixup:
        return images, targets
    choice_key, share_key, area_key, center_key = jax.random.split(key, 4)
    _, height, width, _ = images.shape
    share = jax.random.beta(share_key, mixup, mixup)
    side = jnp.sqrt(1 - jax.random.beta(area_key, cutmix, cutmix))
    h, w = jnp.floor(height * side), jnp.floor(width * side)
    y, x = jnp.floor(jax.random.uniform(center_key, (2,)) * jnp.stack([height, width]))
    top, left = y - jnp.floor(h / 2), x - jnp.floor(w / 2)
    inside = _rectangle(height, width, top, left, h, w)  # may extend past the border
    use_cut = jax.random.bernoulli(choice_key)
    weight = jnp.where(use_cut, 1.0 - inside, share)[..., None]
    mixed = weight * images + (1 - weight) * images[::-1]
    kept = weight.mean()
    return mixed, kept * targets + (1 - kept) * targets[::-1]


def _rectangle(height: int, width: int, top: Array, left: Array, h: Array, w: Array) -> Array:
    row, column = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    return (row >= top) & (row < top + h) & (column >= left) & (column < left + w)

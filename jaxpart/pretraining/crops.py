"""Augmented views, computed on the device inside the training step: crops, colours, blur.

A view depends only on the key and the image's index in the batch, not on the number of devices. Colour
operations are torchvision's, except that ColorJitter's four are applied in a fixed order: brightness,
contrast, saturation, hue.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, UInt8

from jaxpart.encoders.families import IMAGENET_MEAN, IMAGENET_STD

_CROP_ATTEMPTS = 10
_CROP_DRAWS = 2 * _CROP_ATTEMPTS + 2
_DRAWS = _CROP_DRAWS + 12
_GRAY = (0.299, 0.587, 0.114)
Image = Float[Array, "height width 3"]
"""One image, values in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class ViewConfig:
    """How a view is made; chances are probabilities.

    Attributes:
      size: Side in pixels.
      scale: Smallest and largest share of the image's area that a crop covers.
      log_scale: Whether that share is drawn log-uniformly, so that crops of a part are as frequent as
        crops of a whole.
      turn: Largest rotation in degrees, in either direction, before cropping.
      flip: Chance of a horizontal flip.
      jitter: Strengths of brightness, contrast, saturation and hue.
      jitter_chance: Chance of colour jitter.
      gray: Chance of conversion to greyscale.
      blur: Chance of Gaussian blur; a tuple holds one per view of an image.
      blur_sigma: Smallest and largest standard deviation in pixels of the view.
      solarize: Chance of inverting all values above one half; as `blur`.
      invert: Chance of inverting all values.
    """

    size: int
    scale: tuple[float, float]
    log_scale: bool = False
    turn: float = 0.0
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_chance: float = 0.0
    gray: float = 0.0
    blur: float | tuple[float, ...] = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float | tuple[float, ...] = 0.0
    invert: float = 0.0


def make_views(
    key: Array, images: UInt8[Array, "batch height width 3"], config: ViewConfig, count: int = 1
) -> Float[Array, "batch count size size 3"]:
    """Views of each image, values in [0, 1]."""
    draws = jax.random.uniform(key, (len(images), count, _DRAWS))
    blur, solarize = (
        jnp.broadcast_to(jnp.asarray(chance), (count,)) for chance in (config.blur, config.solarize)
    )

    def views(draws: Array, image: Image) -> Array:
        view = functools.partial(make_view, image=image, config=config)
        return jax.vmap(view)(draws, blur=blur, solarize=solarize)

    return jax.vmap(views)(draws, images.astype(jnp.float32) / 255)


def enlarge(
    key: Array, images: UInt8[Array, "batch size size 3"], zoom: float
) -> UInt8[Array, "batch size size 3"]:
    """A random square of each image, enlarged to the image's size.

    Factors are log-uniform from 1 to `zoom`.
    """
    size = images.shape[1]

    def crop(draws: Float[Array, " 3"], image: Image) -> Image:
        side = size / zoom ** draws[0]
        top, left = draws[1:] * (size - side)
        return _resized(image, jnp.stack([top, left, side, side]), size, "linear")

    draws = jax.random.uniform(key, (len(images), 3))
    return jnp.round(jax.vmap(crop)(draws, images.astype(jnp.float32))).astype(jnp.uint8)


def normalize(views: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Normalises values in [0, 1] for encoders: `Encoder.normalize` after its division by 255."""
    return (views - jnp.asarray(IMAGENET_MEAN)) / jnp.asarray(IMAGENET_STD)


def patches_of(
    images: Float[Array, "batch height width 3"], side: int
) -> Float[Array, "batch patch pixel"]:
    """The pixels of each patch, row by row, channels last."""
    return rearrange(images, "b (r p) (c q) rgb -> b (r c) (p q rgb)", p=side, q=side)


def make_view(
    draws: Float[Array, " draws"], image: Image, config: ViewConfig, blur: Array, solarize: Array
) -> Float[Array, "size size 3"]:
    """One view of one image, given its chances of blur and solarisation.

    All randomness comes from one vector of uniform numbers, since a call to the generator costs more than
    a crop. Augmentations with a chance of 0 cost nothing.
    """
    crop, rest = draws[:_CROP_DRAWS], draws[_CROP_DRAWS:]
    turns, flips, jitters, grays, blurs, strength, solarizes, inverts, *factors = rest
    if config.turn:
        image = turn(image, math.radians(config.turn) * (2 * turns - 1))
    view = random_resized_crop(crop, image, config)
    view = jnp.where(flips < config.flip, view[:, ::-1], view)
    if config.jitter_chance:
        changed = color_jitter(jnp.stack(factors), view, config.jitter)
        view = jnp.where(jitters < config.jitter_chance, changed, view)
    if config.gray:
        gray = jnp.broadcast_to(grayscale(view), view.shape)
        view = jnp.where(grays < config.gray, gray, view)
    if np.any(config.blur):
        low, high = config.blur_sigma
        view = jnp.where(blurs < blur, gaussian_blur(view, low + (high - low) * strength), view)
    if np.any(config.solarize):
        view = jnp.where((solarizes < solarize) & (view >= 0.5), 1 - view, view)
    if config.invert:
        view = jnp.where(inverts < config.invert, 1 - view, view)
    return view


def crop_box(
    draws: Float[Array, " draws"], height: int, width: int, config: ViewConfig
) -> Float[Array, " box"]:
    """(top, left, height, width) of torchvision's RandomResizedCrop, not rounded to pixels.

    The area is a share of the image's within `scale` (uniform, or log-uniform with `log_scale`), the
    aspect ratio within [3/4, 4/3]. The first of ten draws that fits is used, otherwise as much of the
    image as that range of aspect ratios allows.
    """
    shares, ratios = draws[:_CROP_ATTEMPTS], draws[_CROP_ATTEMPTS : 2 * _CROP_ATTEMPTS]
    smallest, largest = config.scale
    share = smallest + (largest - smallest) * shares
    if config.log_scale:
        share = smallest * (largest / smallest) ** shares
    area = height * width * share
    ratio = jnp.exp(math.log(4 / 3) * (2 * ratios - 1))
    widths, heights = jnp.sqrt(area * ratio), jnp.sqrt(area / ratio)
    fits = (widths <= width) & (heights <= height)
    first = jnp.argmax(fits)
    h = jnp.where(fits.any(), heights[first], min(height, width * 4 / 3))
    w = jnp.where(fits.any(), widths[first], min(width, height * 4 / 3))
    top, left = draws[2 * _CROP_ATTEMPTS :] * jnp.stack([height - h, width - w])
    return jnp.stack([top, left, h, w])


def random_resized_crop(
    draws: Float[Array, " draws"], image: Image, config: ViewConfig
) -> Float[Array, "size size 3"]:
    """A random crop (`crop_box`), resized bicubically with antialiasing, clipped to [0, 1]."""
    height, width, _ = image.shape
    box = crop_box(draws, height, width, config)
    return jnp.clip(_resized(image, box, config.size, "cubic"), 0, 1)


def turn(image: Image, angle: Array) -> Image:
    """Rotates an image counterclockwise by an angle in radians, bilinear, mirrored at the border."""
    center_y, center_x = ((side - 1) / 2 for side in image.shape[:2])
    y, x = jnp.meshgrid(*(jnp.arange(side) for side in image.shape[:2]), indexing="ij")
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    source_y = center_y + cos * (y - center_y) + sin * (x - center_x)
    source_x = center_x - sin * (y - center_y) + cos * (x - center_x)
    return sampled(image, source_y, source_x, "mirror")


def sampled(
    image: Image, y: Float[Array, "rows columns"], x: Float[Array, "rows columns"], outside: str
) -> Float[Array, "rows columns 3"]:
    """Samples an image bilinearly at points; `outside` is a mode of SciPy's `map_coordinates`."""

    def sample(channel: Array) -> Array:
        return jax.scipy.ndimage.map_coordinates(channel, [y, x], order=1, mode=outside)

    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)


def _resized(image: Image, box: Float[Array, " box"], size: int, method: str) -> Image:
    """Resizes a (top, left, height, width) box of an image to a square, with antialiasing."""
    corner, sides = box[:2], box[2:]
    zoom = size / sides
    return jax.image.scale_and_translate(
        image, (size, size, 3), (0, 1), zoom, -corner * zoom, method=method, antialias=True
    )


def grayscale(image: Image) -> Float[Array, "height width 1"]:
    """ITU-R 601 luma, as in Pillow and torchvision."""
    return (image * jnp.asarray(_GRAY)).sum(axis=-1, keepdims=True)


def color_jitter(
    draws: Float[Array, " draws"], image: Image, strength: tuple[float, float, float, float]
) -> Image:
    """Brightness, contrast, saturation and hue, each by a random factor (hue: a random shift)."""
    low = jnp.maximum(0, 1 - jnp.asarray(strength))
    factor = low + (1 + jnp.asarray(strength) - low) * draws
    image = blend(jnp.zeros(()), image, factor[0])
    image = blend(grayscale(image).mean(), image, factor[1])
    image = blend(grayscale(image), image, factor[2])
    if strength[3]:
        image = jnp.clip(dm_pix.adjust_hue(image, strength[3] * (2 * draws[3] - 1)), 0, 1)
    return image


def blend(other: Array, image: Image, factor: Array) -> Image:
    """Mixes `factor` of the image with 1 - `factor` of another, clipped to [0, 1]."""
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)


def gaussian_blur(image: Image, sigma: Array) -> Image:
    """Blurs with one matrix per axis, whose rows are Gaussians truncated at the border."""
    rows, columns = (_blur_matrix(length, sigma) for length in image.shape[:2])
    return jnp.einsum("ih,hwc,jw->ijc", rows, image, columns, precision=jax.lax.Precision.HIGHEST)


def _blur_matrix(length: int, sigma: Array) -> Float[Array, "length length"]:
    position = jnp.arange(length)
    weight = jnp.exp(-((position[:, None] - position[None, :]) ** 2) / (2 * sigma**2))
    return weight / weight.sum(axis=1, keepdims=True)

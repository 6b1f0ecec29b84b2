"""Views of images, made on the device inside the training step: crops, colours, blur.

Everything is drawn from the key given, one key per image, so that views do not depend on how many
devices share a batch. Colour operations are torchvision's; ColorJitter's four come in the order
brightness, contrast, saturation, hue, and not in random order.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import dm_pix
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, UInt8

from jaxpart.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD

_CROP_ATTEMPTS = 10
_GRAY = (0.299, 0.587, 0.114)
Image = Float[Array, "height width 3"]
"""One image, values of 0 to 1."""


@dataclasses.dataclass(frozen=True)
class ViewConfig:
    """How a view is made; chances are of 1.

    Attributes:
      size: Side in pixels.
      scale: Least and largest share of the image's area that a crop takes.
      flip: Chance of a horizontal flip.
      jitter: Strengths of brightness, contrast, saturation and hue.
      jitter_chance: Chance of colour jitter.
      gray: Chance of losing all colour.
      blur: Chance of Gaussian blur; several numbers are those of several views of an image.
      blur_sigma: Least and largest standard deviation in pixels of the view.
      solarize: Chance of inverting all values above one half; as `blur`.
    """

    size: int
    scale: tuple[float, float]
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_chance: float = 0.0
    gray: float = 0.0
    blur: float | tuple[float, ...] = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float | tuple[float, ...] = 0.0


def make_views(
    key: Array, images: UInt8[Array, "batch height width 3"], config: ViewConfig, count: int = 1
) -> Float[Array, "batch count size size 3"]:
    """Views of each image, values of 0 to 1."""
    keys = jax.random.split(key, (len(images), count))
    blur, solarize = (
        jnp.broadcast_to(jnp.asarray(chance), (count,)) for chance in (config.blur, config.solarize)
    )

    def views(keys: Array, image: Image) -> Array:
        one = functools.partial(make_view, image=image, config=config)
        return jax.vmap(one)(keys, blur=blur, solarize=solarize)

    return jax.vmap(views)(keys, images.astype(jnp.float32) / 255)


def normalize(views: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Values of 0 to 1 as encoders want them: `Encoder.normalize` after its division by 255."""
    return (views - jnp.asarray(IMAGENET_MEAN)) / jnp.asarray(IMAGENET_STD)


def patches_of(
    images: Float[Array, "batch height width 3"], side: int
) -> Float[Array, "batch patch pixel"]:
    """The pixels of each patch, row by row, channels last."""
    return rearrange(images, "b (r p) (c q) rgb -> b (r c) (p q rgb)", p=side, q=side)


def make_view(
    key: Array, image: Image, config: ViewConfig, blur: Array, solarize: Array
) -> Float[Array, "size size 3"]:
    """One view of one image, with its chances of blur and solarisation.

    What no view has a chance of costs nothing.
    """
    crop, flip, jitter, gray, blurring, solarizing = jax.random.split(key, 6)
    view = random_resized_crop(crop, image, config.size, config.scale)
    view = jnp.where(jax.random.bernoulli(flip, config.flip), view[:, ::-1], view)
    if config.jitter_chance:
        use, colors = jax.random.split(jitter)
        changed = color_jitter(colors, view, config.jitter)
        view = jnp.where(jax.random.bernoulli(use, config.jitter_chance), changed, view)
    if config.gray:
        lost = jnp.broadcast_to(grayscale(view), view.shape)
        view = jnp.where(jax.random.bernoulli(gray, config.gray), lost, view)
    if config.blur:
        use, strength = jax.random.split(blurring)
        low, high = config.blur_sigma
        blurred = gaussian_blur(view, jax.random.uniform(strength, minval=low, maxval=high))
        view = jnp.where(jax.random.bernoulli(use, blur), blurred, view)
    if config.solarize:
        use_it = jax.random.bernoulli(solarizing, solarize)
        view = jnp.where(use_it & (view >= 0.5), 1 - view, view)
    return view


def crop_box(key: Array, height: int, width: int, scale: tuple[float, float]) -> Float[Array, 4]:
    """(top, left, height, width) of torchvision's RandomResizedCrop, not rounded to pixels.

    The area is a share of the image's within `scale`, the aspect ratio within [3/4, 4/3]; of ten
    draws the first that lies inside is taken, else the whole image as far as its aspect ratio allows.
    """
    shares, ratios, places = jax.random.split(key, 3)
    area = (
        height
        * width
        * jax.random.uniform(shares, (_CROP_ATTEMPTS,), minval=scale[0], maxval=scale[1])
    )
    limit = math.log(4 / 3)
    ratio = jnp.exp(jax.random.uniform(ratios, (_CROP_ATTEMPTS,), minval=-limit, maxval=limit))
    widths, heights = jnp.sqrt(area * ratio), jnp.sqrt(area / ratio)
    fits = (widths <= width) & (heights <= height)
    first = jnp.argmax(fits)
    h = jnp.where(fits.any(), heights[first], min(height, width * 4 / 3))
    w = jnp.where(fits.any(), widths[first], min(width, height * 4 / 3))
    top, left = jax.random.uniform(places, (2,)) * jnp.stack([height - h, width - w])
    return jnp.stack([top, left, h, w])


def random_resized_crop(
    key: Array, image: Image, size: int, scale: tuple[float, float]
) -> Float[Array, "size size 3"]:
    """A random crop, resized bicubically with antialiasing, clipped to 0 to 1."""
    height, width, _ = image.shape
    top, left, h, w = crop_box(key, height, width, scale)
    zoom = size / jnp.stack([h, w])
    shift = -jnp.stack([top, left]) * zoom
    view = jax.image.scale_and_translate(
        image, (size, size, 3), (0, 1), zoom, shift, method="cubic", antialias=True
    )
    return jnp.clip(view, 0, 1)


def grayscale(image: Image) -> Float[Array, "height width 1"]:
    """Luma of ITU-R 601, as Pillow's and torchvision's."""
    return (image * jnp.asarray(_GRAY)).sum(axis=-1, keepdims=True)


def color_jitter(key: Array, image: Image, strength: tuple[float, float, float, float]) -> Image:
    """Brightness, contrast, saturation and hue, each by a random factor (hue: shift of the circle)."""
    keys = jax.random.split(key, 4)

    def factor(i: int) -> Array:
        return jax.random.uniform(keys[i], minval=max(0, 1 - strength[i]), maxval=1 + strength[i])

    image = blend(jnp.zeros(()), image, factor(0))
    image = blend(grayscale(image).mean(), image, factor(1))
    image = blend(grayscale(image), image, factor(2))
    if strength[3]:
        shift = jax.random.uniform(keys[3], minval=-strength[3], maxval=strength[3])
        image = jnp.clip(dm_pix.adjust_hue(image, shift), 0, 1)
    return image


def blend(other: Array, image: Image, factor: Array) -> Image:
    """`factor` of the image and the rest of another, clipped to 0 to 1."""
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)


def gaussian_blur(image: Image, sigma: Array) -> Image:
    """Blur by one matrix per axis, whose rows are Gaussians cut off at the border."""
    rows, columns = (_blur_matrix(length, sigma) for length in image.shape[:2])
    return jnp.einsum("ih,hwc,jw->ijc", rows, image, columns)


def _blur_matrix(length: int, sigma: Array) -> Float[Array, "length length"]:
    place = jnp.arange(length)
    weight = jnp.exp(-((place[:, None] - place[None, :]) ** 2) / (2 * sigma**2))
    return weight / weight.sum(axis=1, keepdims=True)

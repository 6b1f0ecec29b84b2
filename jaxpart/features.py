"""Frozen features of part patches: every patch goes through the encoder once."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from jaxpart.data.images import Pixels
from jaxpart.encoders.encoder import Encoder
from jaxpart.errors import JaxpartError

_BLOCK = re.compile(r"block(\d+)/(?:(embedding)|(\w+)_token)")


def check_representations(encoder: Encoder, names: Sequence[str]) -> None:
    """Raises `JaxpartError` if an encoder does not have one of the representations."""
    size = encoder.config.image_size
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.uint8)
    for name in names:
        try:
            jax.eval_shape(functools.partial(represent, names=(name,)), encoder, images)
        except KeyError:
            config = encoder.config
            kinds = ["embedding", *(f"{token}_token" for token in config.prefix)]
            last = f"block{config.depth - 1}/{kinds[-1]}"
            projection = ["projection"] * (config.projector is not None)
            raise JaxpartError(
                f"the {encoder.name} encoder has no representation {name!r}; choose among "
                f"{', '.join([*kinds, *projection])}, block0/embedding … {last}"
            ) from None


def represent(
    encoder: Encoder, images: UInt8[Array, "batch height width 3"], *, names: tuple[str, ...]
) -> dict[str, Float[Array, "batch channels"]]:
    """The named representations of uint8 images.

    Args:
      encoder: The frozen encoder.
      images: Pixels of 0 to 255.
      names: Keys of the encoder's output with one vector per image ("embedding", "projection",
        "cls_token", …), or "block3/embedding" and "block3/cls_token" for the output of block 3,
        before the final norm, counted from 0. An encoder without a cls token has none of these.

    Raises:
      KeyError: The encoder has no such representation.
    """
    blocks = any(name.startswith("block") for name in names)
    out = encoder(encoder.normalize(images), blocks=blocks)
    return {name: _pick(out, name, encoder.config.prefix) for name in names}


def _pick(
    out: dict[str, Any], name: str, prefix: tuple[str, ...]
) -> Float[Array, "batch channels"]:
    found = _BLOCK.fullmatch(name)
    if not found:
        if name in out and name != "blocks" and out[name].ndim == 2:
            return out[name]
        raise KeyError(name)
    index, token = int(found.group(1)), found.group(3)
    if index >= len(out["blocks"]) or (token is not None and token not in prefix):
        raise KeyError(name)
    tokens = out["blocks"][index]
    return (
        tokens[:, len(prefix) :].mean(axis=1) if token is None else tokens[:, prefix.index(token)]
    )


_step = jax.jit(represent, static_argnames="names")


def extract(
    encoder: Encoder,
    images: Iterator[Pixels],
    names: Sequence[str],
    *,
    batch_size: int,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[str, Float32[np.ndarray, "images channels"]]:
    """Features of a stream of images.

    Pixels travel as uint8 and are normalised on the device. The last batch is padded, so that one
    program serves all; the device works on a batch while the next is read.

    Args:
      encoder: The frozen encoder.
      images: uint8 [size, size, 3] each, all of one size.
      names: Representations, see `represent`.
      batch_size: Images per step.
      progress: Called with the number of images of each batch.

    Returns:
      float32 features by name, in the order of the images.

    Raises:
      JaxpartError: There are no images.
    """
    done: list[tuple[int, dict[str, np.ndarray]]] = []
    running: tuple[int, dict[str, Array]] | None = None
    for pixels, count in _batches(images, batch_size):
        started = count, _step(encoder, pixels, names=tuple(names))
        if running is not None:
            done.append((running[0], jax.device_get(running[1])))
            progress(running[0])
        running = started
    if running is None:
        raise JaxpartError("there are no images to encode; look at the data set and its limits")
    done.append((running[0], jax.device_get(running[1])))
    progress(running[0])
    return {name: np.concatenate([out[name][:count] for count, out in done]) for name in names}


def _batches(images: Iterator[Pixels], size: int) -> Iterator[tuple[np.ndarray, int]]:
    batch: list[Pixels] = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield np.stack(batch), size
            batch = []
    if batch:
        padding = [np.zeros_like(batch[0])] * (size - len(batch))
        yield np.stack(batch + padding), len(batch)

"""Named representations of images: "embedding", "block3/tokens", "cls_token+embedding", …"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.positions import Grid
from jaxpart.errors import JaxpartError
from jaxpart.features.pixels import PIXELS, cell_means

_BLOCK = re.compile(r"block(\d+)/(embedding|tokens|\w+_token)")
_LAYER = re.compile(r"(projector|predictor)([1-9]\d*)")


def check_representations(
    encoder: FrozenEncoder, names: Sequence[str], *, tokens: bool = False
) -> dict[str, tuple[int, ...]]:
    """Shapes of representations, for one image of the encoder's native size.

    With `tokens`, each must be all tokens of an image, rather than a single vector.

    Raises:
      JaxpartError: The encoder lacks one of them, or names joined by a plus differ in number of
        tokens.
    """
    outputs = encoder.shapes(*encoder.image_size)
    shapes = {}
    for name in names:
        try:
            shape = _shape(encoder, outputs, name, encoder.image_size)
            if name != PIXELS and (shape.ndim == 3) != tokens:
                raise KeyError(name)
        except KeyError:
            raise JaxpartError(
                f"the {encoder.name} encoder has no representation {name!r}; choose from "
                f"{', '.join(available(encoder, tokens=tokens))}"
            ) from None
        except TypeError:
            raise JaxpartError(
                f"{name!r} joins tokens of different grids; name representations of one grid"
            ) from None
        shapes[name] = shape.shape[1:]
    return shapes


def item_shapes(
    encoder: FrozenEncoder, names: Sequence[str], side: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of representations that the encoder has, for one image."""
    outputs = encoder.shapes(side, side)
    return {name: _shape(encoder, outputs, name, (side, side)).shape[1:] for name in names}


def _shape(
    encoder: FrozenEncoder, outputs: Mapping[str, Any], name: str, size: Grid
) -> jax.ShapeDtypeStruct:
    if name == PIXELS:
        return jax.eval_shape(cell_means, jax.ShapeDtypeStruct((1, *size, 3), jnp.uint8))
    return jax.eval_shape(lambda out: _read(out, name, encoder.prefix), outputs)


def has(encoder: FrozenEncoder, name: str, *, tokens: bool = False) -> bool:
    """Whether an encoder has a representation, see `check_representations`."""
    try:
        check_representations(encoder, [name], tokens=tokens)
    except JaxpartError:
        return False
    return True


def tokens_grid(encoder: FrozenEncoder, name: str, side: int) -> Grid:
    """Patch tokens along (height, width) of a representation of square images.

    Raises:
      JaxpartError: The encoder does not accept such images, or its tokens have no known grid.
    """
    block = re.match(r"block(\d+)/", name)
    return encoder.grid_of(side, side, int(block[1]) if block else None)


def available(encoder: FrozenEncoder, *, tokens: bool = False) -> list[str]:
    """What to call an encoder's representations in a message; those of its blocks are abbreviated."""
    kinds = ["tokens"] if tokens else _pooled(encoder)
    out = encoder.shapes(*encoder.image_size)
    names = [name for name in kinds if name in out] if tokens else vectors(encoder)
    if encoder.depth:
        names.append(f"block0/{kinds[0]} … block{encoder.depth - 1}/{kinds[-1]}")
    return names


def vectors(encoder: FrozenEncoder) -> list[str]:
    """Names of an encoder's representations with a single vector per image, without those of its blocks."""
    out = encoder.shapes(*encoder.image_size)
    names = [name for name in _pooled(encoder) if name in out]
    others = [k for k, v in out.items() if getattr(v, "ndim", 0) == 2 and k not in names]
    return [*names, *others, *projector_layers(encoder)]


def _pooled(encoder: FrozenEncoder) -> list[str]:
    return ["embedding", *(f"{name}_token" for name in encoder.prefix)]


def projector_layers(encoder: FrozenEncoder) -> list[str]:
    """Names of the outputs of its projector's layers, and of its predictor's, in order."""
    out = encoder.shapes(*encoder.image_size)
    kinds = ("projector", "predictor")
    return [f"{kind}{i}" for kind in kinds for i in range(1, len(out[kind]) + 1)]


def represent(
    encoder: FrozenEncoder,
    images: UInt8[Array, "batch height width 3"],
    order: Int[Array, "batch patch"] | None = None,
    *,
    names: tuple[str, ...],
) -> dict[str, Float[Array, "batch ..."]]:
    """The named representations of uint8 images.

    Args:
      encoder: The frozen encoder.
      images: Pixel values, 0 to 255.
      order: See `Encoder.__call__`.
      names: Keys of the encoder's output with one vector per image ("embedding", "projection",
        "cls_token", …) or with all tokens ("tokens"), or "block3/embedding", "block3/cls_token" and
        "block3/tokens" for the output of block 3, before the final norm, counted from 0. "projector1"
        is the output of the projector's first layer, "predictor1" that of MoCo v3's predictor, as the
        next layer sees it (after BN and ReLU, or GELU; the bottleneck l2-normalised); the last ones
        are "projection" and "prediction". A plus concatenates several, as in
        "cls_token+embedding". "pixels12" needs no encoder: see `jaxpart.features.pixels`.

    Raises:
      KeyError: The encoder has no such representation.
    """
    pixels = {name: cell_means(images) for name in names if name == PIXELS}
    names = tuple(name for name in names if name not in pixels)
    if not names:
        return pixels
    blocks = any(word in name for name in names for word in ("block", "projector", "predictor"))
    out = encoder(encoder.normalize(images), order=order, blocks=blocks)
    return pixels | {name: _read(out, name, encoder.prefix) for name in names}


def _read(out: Mapping[str, Any], name: str, prefix: Sequence[str]) -> Float[Array, "batch ..."]:
    """One representation from an encoder's outputs. Raises `KeyError` if it is missing."""
    parts = [_pick(out, part, prefix) for part in name.split("+")]
    if len({part.ndim for part in parts}) > 1:
        raise KeyError(name)
    return jnp.concatenate(parts, axis=-1)


def _pick(out: Mapping[str, Any], name: str, prefix: Sequence[str]) -> Float[Array, "batch ..."]:
    layer = _LAYER.fullmatch(name)
    if layer and int(layer[2]) <= len(out[layer[1]]):
        return out[layer[1]][int(layer[2]) - 1]
    block = _BLOCK.fullmatch(name)
    if not block:
        if isinstance(out.get(name), jax.Array) and out[name].ndim == (2 + (name == "tokens")):
            return out[name]
        raise KeyError(name)
    index, kind = int(block[1]), block[2]
    if index >= len(out["blocks"]):
        raise KeyError(name)
    tokens = out["blocks"][index]
    if kind == "tokens":
        return tokens
    if kind == "embedding":
        return tokens[:, len(prefix) :].mean(axis=1)
    token = kind.removesuffix("_token")
    if token not in prefix:
        raise KeyError(name)
    return tokens[:, prefix.index(token)]

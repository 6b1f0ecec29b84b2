"""Runs a Flax encoder stage by stage, unmodified or with changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.precision import REFERENCE, set_precision
from jaxpart.encoders.vit import ViT, with_architecture

OUTPUTS = ("tokens", "pooled", "projection", "patch_projection", "prediction")
"""Outputs after the last block; an encoder has some of them."""

Stages = dict[str, np.ndarray]
"""Arrays by stage, in order: "embed", "block0", …, and the outputs."""


@dataclasses.dataclass(frozen=True)
class Change:
    """A change to an encoder.

    Attributes:
      fields: Fields of `ViTConfig` to set.
      edit: Edits the model.
    """

    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    edit: Callable[[ViT], None] = lambda model: None


def stage_names(encoder: Encoder) -> list[str]:
    """Names of all stages of an encoder."""
    images = jax.ShapeDtypeStruct((1, *encoder.config.image_size, 3), np.float32)
    out = jax.eval_shape(lambda images: encoder(images), images)
    blocks = [f"block{i}" for i in range(encoder.config.depth)]
    return ["embed", *blocks, *(name for name in OUTPUTS if name in out)]


def run(encoder: Encoder, images: Float[np.ndarray, "batch height width 3"]) -> Stages:
    """Every stage of an encoder, compiled as in normal use."""
    pixels = jax.numpy.asarray(images)
    out = encoder(pixels, blocks=True)
    stages = {"embed": _embed(encoder, pixels)}
    stages |= {f"block{i}": tokens for i, tokens in enumerate(out["blocks"])}
    stages |= {name: out[name] for name in OUTPUTS if name in out}
    return jax.device_get(stages)


@jax.jit
def _embed(encoder: Encoder, images: Array) -> Array:
    return encoder.model.embed(images)[0]


def run_changed(
    encoder: Encoder,
    images: Float[np.ndarray, "batch height width 3"],
    changes: list[Change],
    last: str,
) -> Stages:
    """The stages of a changed encoder, up to the last one requested.

    Not compiled: compiling each change would take longer than running it a few times.
    """
    config = encoder.config
    for change in changes:
        config = dataclasses.replace(config, **change.fields)
    model = with_architecture(encoder.vit, config)
    set_precision(model, REFERENCE)
    for change in changes:
        change.edit(model)
    tokens, grid = model.embed(jax.numpy.asarray(images))
    stages = {"embed": tokens}
    if last == "embed":
        return jax.device_get(stages)
    if last.startswith("block"):
        model.blocks = nnx.List(list(model.blocks)[: int(last.removeprefix("block")) + 1])
    outputs, _ = model.transform(tokens, grid)
    stages |= {f"block{i}": tokens for i, tokens in enumerate(outputs)}
    if not last.startswith("block"):
        out = model.finish(outputs[-1])
        stages |= {name: out[name] for name in OUTPUTS if name in out}
    return jax.device_get(stages)

"""Known porting mistakes, each as a change that makes the Flax encoder reproduce it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import jax
import numpy as np
from einops import rearrange
from flax import nnx

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.attention import RelativeBias
from jaxpart.encoders.layers import Activation
from jaxpart.encoders.positions import (
    Grid,
    PositionResize,
    bicubic_matrix,
    relative_bias_index,
)
from jaxpart.encoders.vit import ViT
from jaxpart.verify.stages import Change

_EPSILONS = (1e-5, 1e-6, 1e-12)
_HEAD_WIDTHS = range(16, 129, 8)


@dataclasses.dataclass(frozen=True)
class Mistake:
    """Something that a reference may do differently.

    Attributes:
      name: "GELU", "LayerNorm epsilon"; at most one mistake of each name is found.
      sentence: What the reference does, and what the encoder does.
      stages: Kinds of stages that may differ first: "embed", "block", "tokens", "output".
      change: The change that makes the encoder behave like the reference.
    """

    name: str
    sentence: str
    stages: tuple[str, ...]
    change: Change


def mistakes(config: ViTConfig) -> Iterator[Mistake]:
    """All known mistakes that are possible with an encoder of this configuration."""
    for name in get_args(Activation):
        if name != config.activation:
            yield _field(config, "GELU", "activation", name, ("block",))
    pool = config.projector
    if pool is not None and pool.kind == "attention_pool":
        for name in get_args(Activation):
            if name != pool.activation:
                sentence = (
                    f"GELU of the pooling head: {name} in the reference, {pool.activation} here"
                )
                change = Change({"projector": dataclasses.replace(pool, activation=name)})
                yield Mistake("GELU of the pooling head", sentence, ("output",), change)
    for epsilon in _EPSILONS:
        if epsilon != config.norm_epsilon:
            stages = ("embed", "block", "tokens", "output")
            yield _field(config, "LayerNorm epsilon", "norm_epsilon", epsilon, stages)
    if config.relative_bias == config.rotary == "none":  # both depend on the number of heads
        for channels in _HEAD_WIDTHS:
            heads = config.width // channels
            if heads * channels == config.width and heads != config.num_heads:
                yield _field(config, "head count", "num_heads", heads, ("block",))
    if config.positions != "none":
        for rule in get_args(PositionResize):
            if rule != config.position_resize:
                yield _field(config, "position interpolation", "position_resize", rule, ("embed",))
        yield from _grids(config)
    for name, matrix in _TABLE_RULES.items() if config.relative_bias != "none" else ():
        sentence = f"position interpolation: {name} in the reference, that of BEiT here"
        change = Change(edit=functools.partial(_edit_tables, matrix=matrix))
        yield Mistake("position interpolation", sentence, ("block",), change)
    yield from _qkv_orders()
    yield from _norms(config)
    if config.stem == "conv" or config.projector is not None:
        sentence = "BatchNorm uses the statistics of the batch in the reference, running ones here"
        change = Change(edit=_use_batch_statistics)
        yield Mistake("BatchNorm mode", sentence, ("embed", "output"), change)


def _field(
    config: ViTConfig, name: str, field: str, value: Any, stages: tuple[str, ...]
) -> Mistake:
    ours = getattr(config, field)
    values = [f"{v:g}" if isinstance(v, float) else str(v) for v in (value, ours)]
    sentence = f"{name}: {values[0]} in the reference, {values[1]} here"
    return Mistake(name, sentence, stages, Change({field: value}))


def _grids(config: ViTConfig) -> Iterator[Mistake]:
    """Other grids with as many patches as there are positions."""
    rows, columns = config.grid
    for other in range(1, rows * columns + 1):
        if rows * columns % other == 0 and other != rows:
            grid = other, rows * columns // other
            theirs, ours = (f"{r} × {c}" for r, c in (grid, config.grid))
            sentence = f"grid of the positions: {theirs} in the reference, {ours} here"
            size = grid[0] * config.patch_size, grid[1] * config.patch_size
            yield Mistake("grid", sentence, ("embed",), Change({"image_size": size}))


def _edit_tables(model: ViT, matrix: Callable[[int, int], np.ndarray]) -> None:
    shared = model.config.relative_bias == "shared"
    for owner in (model,) if shared else model.blocks:
        bias = functools.partial(_relative_bias, owner.relative_bias, matrix)
        setattr(owner, "relative_bias", bias)  # noqa: B010 - replaces a module by a function


def _relative_bias(
    bias: RelativeBias, matrix: Callable[[int, int], np.ndarray], grid: Grid
) -> jax.Array:
    """The module's output, with its table resized to another grid by another rule."""
    source, target = ([2 * side - 1 for side in sides] for sides in (bias.grid, grid))
    rows, columns = (matrix(s, t) for s, t in zip(source, target, strict=True))
    table = bias.table[...]
    offsets = table[:-3].reshape(*source, -1)
    resized = jax.numpy.einsum(
        "ih,hwc,jw->ijc", rows, offsets, columns, precision=jax.lax.Precision.HIGHEST
    )
    full_table = jax.numpy.concatenate([resized.reshape(-1, offsets.shape[-1]), table[-3:]])
    return jax.numpy.moveaxis(full_table[relative_bias_index(grid)], -1, 0)


def _bilinear_matrix(source: int, target: int) -> np.ndarray:
    """PyTorch's bilinear interpolation of an axis, without antialiasing."""
    centres = (np.arange(target) + 0.5) * source / target - 0.5
    return np.stack([np.interp(centres, np.arange(source), unit) for unit in np.eye(source)], 1)


_TABLE_RULES: Mapping[str, Callable[[int, int], np.ndarray]] = {
    "bilinear": _bilinear_matrix,
    "bicubic": bicubic_matrix,
}
"""How transformers, and timm by its simple rule, resize BEiT's tables to another grid."""


def _qkv_orders() -> Iterator[Mistake]:
    orders = {"of each head": _per_head}
    for order in itertools.permutations(range(3)):
        if order != (0, 1, 2):
            name = ", ".join("qkv"[i] for i in order)
            orders[name] = functools.partial(_reordered, order=order)
    for name, function in orders.items():
        sentence = f"qkv order: {name} in the reference, q, k, v here"
        yield Mistake("qkv order", sentence, ("block",), Change(edit=_edit_qkv(function)))


def _reordered(qkv: jax.Array, heads: int, order: tuple[int, ...]) -> jax.Array:
    """q, k and v as read by a reference that expects a different order."""
    del heads
    thirds = jax.numpy.split(qkv, 3, axis=-1)
    return jax.numpy.concatenate([thirds[order.index(i)] for i in range(3)], axis=-1)


def _per_head(qkv: jax.Array, heads: int) -> jax.Array:
    """q, k and v as read by a reference that stores them head by head."""
    return rearrange(qkv, "... (h three d) -> ... (three h d)", h=heads, three=3)


def _edit_qkv(function: Callable[[jax.Array, int], jax.Array]) -> Callable[[ViT], None]:
    def edit(model: ViT) -> None:
        for block in model.blocks:
            attention = block.attention
            attention.qkv = _project(attention, function)
            attention.has_qv_bias = False  # `_project` adds it

    return edit


def _project(attention: Any, function: Callable[[jax.Array, int], jax.Array]) -> Any:
    qkv, biased = attention.qkv, attention.has_qv_bias

    def project(tokens: jax.Array) -> jax.Array:
        parts = qkv(tokens)
        values = parts.reshape(*tokens.shape[:2], -1)
        if biased:
            q, v = attention.q_bias[...], attention.v_bias[...]
            values = values + jax.numpy.concatenate([q, jax.numpy.zeros_like(q), v])
        return function(values, attention.num_heads).reshape(parts.shape)

    return project


def _norms(config: ViTConfig) -> Iterator[Mistake]:
    """Each norm left out, or applied twice."""
    norms = [
        ("first norm of the blocks", "norm1", True, "block"),
        ("second norm of the blocks", "norm2", True, "block"),
        ("norm after the patch embedding", "stem_norm", config.stem_norm, "embed"),
        ("norm before the blocks", "pre_norm", config.pre_norm, "embed"),
        ("final norm", "norm", config.final_norm, "tokens"),
        ("norm of the pooled token", "pooled_norm", config.pooled_norm, "output"),
    ]
    for name, attribute, exists, stage in norms:
        for fault, function in (("missing", _left_out), ("doubled", _doubled)):
            if exists:
                sentence = f"{fault} in the reference: the {name}"
                change = Change(edit=_edit_norm(attribute, stage == "block", function))
                yield Mistake(f"{fault} norm", sentence, (stage,), change)


def _edit_norm(
    attribute: str, of_blocks: bool, function: Callable[[Any], Any]
) -> Callable[[ViT], None]:
    def edit(model: ViT) -> None:
        for owner in model.blocks if of_blocks else (model,):
            setattr(owner, attribute, function(getattr(owner, attribute)))

    return edit


def _left_out(norm: Any) -> Any:
    return lambda tokens: tokens


def _doubled(norm: Any) -> Any:
    return lambda tokens: norm(norm(tokens))


def _use_batch_statistics(model: ViT) -> None:
    for _, module in nnx.iter_modules(model):
        if isinstance(module, nnx.BatchNorm):
            module.use_running_average = False

"""The known mistakes of ports, by name, and which of them explains a difference.

Each is a change to the Flax encoder. Where a reference departs, the encoder is run with each: the one
that brings the error down is what the two implementations do differently.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import jax
import numpy as np
from einops import rearrange
from flax import nnx

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.layers import Activation
from jaxpart.encoders.positions import PositionResize
from jaxpart.encoders.vit import ViT
from jaxpart.verify.comparing import compare
from jaxpart.verify.stages import Change, Stages, run_changed

_EPSILONS = (1e-5, 1e-6, 1e-12)
_REDUCTION = 0.5
"""A mistake is taken for one of several if the error falls to this share of what it was."""


@dataclasses.dataclass(frozen=True)
class Mistake:
    """What a reference may do otherwise.

    Attributes:
      name: "GELU", "LayerNorm epsilon"; a reference does one thing of each name otherwise.
      sentence: What the reference does, and what the encoder.
      stages: Kinds of stages in which it may show first: "embed", "block", "tokens", "output".
      change: What makes the encoder do the same.
    """

    name: str
    sentence: str
    stages: tuple[str, ...]
    change: Change


@dataclasses.dataclass(frozen=True)
class Finding:
    """A mistake that explains a difference.

    Attributes:
      mistake: It.
      stage: The first stage that departed.
      before: Largest error up to there without it.
      after: And with it.
      also: Others that bring it below the tolerance too: these images do not tell them apart.
    """

    mistake: Mistake
    stage: str
    before: float
    after: float
    also: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "name": self.mistake.name,
            "sentence": self.mistake.sentence,
            "stage": self.stage,
            "error_before": self.before,
            "error_after": self.after,
            "also": list(self.also),
        }


def diagnose(
    encoder: Encoder,
    images: np.ndarray,
    reference: Mapping[str, np.ndarray],
    tolerance: float,
) -> tuple[list[Finding], bool]:
    """Names what a reference does otherwise.

    Args:
      encoder: The Flax encoder, which departs from it.
      images: float32 [batch, height, width, 3], normalised.
      reference: The reference's stages, those that can be compared.
      tolerance: Largest absolute error of what is the same.

    Returns:
      The mistakes, in the order in which they show, and whether all stages agree with them; if not,
      the last is the nearest guess, or there is none.
    """
    known, findings = list(mistakes(encoder.config)), list[Finding]()
    last = list(reference)[-1]
    while True:
        chosen = [finding.mistake for finding in findings]
        ours = run_changed(encoder, images, [mistake.change for mistake in chosen], last)
        stage = _first(reference, ours, tolerance)
        if stage is None:
            return findings, True
        before = _error(reference, ours, stage)
        taken = {mistake.name for mistake in chosen}
        trials = []
        for mistake in known:
            if _kind(stage) in mistake.stages and mistake.name not in taken:
                changes = [*(other.change for other in chosen), mistake.change]
                changed = run_changed(encoder, images, changes, stage)
                trials.append((_error(reference, changed, stage), mistake))
        trials.sort(key=lambda trial: trial[0])
        if not trials or not trials[0][0] <= _REDUCTION * before:
            return findings, False
        after, best = trials[0]
        also = tuple(mistake.sentence for error, mistake in trials[1:] if error <= tolerance)
        findings.append(Finding(best, stage, before, after, also))


def _kind(stage: str) -> str:
    if stage.startswith("block"):
        return "block"
    return stage if stage in ("embed", "tokens") else "output"


def _first(reference: Mapping[str, np.ndarray], ours: Stages, tolerance: float) -> str | None:
    for stage, value in reference.items():
        if compare(stage, value, ours[stage]).departs(tolerance):
            return stage
    return None


def _error(reference: Mapping[str, np.ndarray], ours: Stages, last: str) -> float:
    """Largest error of all stages up to one."""
    names = list(reference)
    errors = [
        compare(name, reference[name], ours[name]).error for name in names[: names.index(last) + 1]
    ]
    return max(np.inf if error is None else error for error in errors)


def mistakes(config: ViTConfig) -> Iterator[Mistake]:
    """All known mistakes that an encoder of this configuration may meet."""
    for name in get_args(Activation):
        if name != config.activation:
            yield _field(config, "GELU", "activation", name, ("block",))
    for epsilon in _EPSILONS:
        if epsilon != config.norm_epsilon:
            stages = ("embed", "block", "tokens", "output")
            yield _field(config, "LayerNorm epsilon", "norm_epsilon", epsilon, stages)
    if config.relative_bias == config.rotary == "none":  # both are made for a number of heads
        for heads in range(1, config.width + 1):
            if config.width % heads == 0 and heads != config.num_heads:
                yield _field(config, "head count", "num_heads", heads, ("block",))
    if config.positions != "none":
        for rule in get_args(PositionResize):
            if rule != config.position_resize:
                yield _field(config, "position interpolation", "position_resize", rule, ("embed",))
    yield from _qkv_orders()
    yield from _norms(config)
    if config.stem == "conv" or config.projector is not None:
        sentence = "BatchNorm uses the statistics of the batch in the reference, running ones here"
        change = Change(edit=_use_batch_statistics)
        yield Mistake("BatchNorm mode", sentence, ("embed", "output"), change)


def _field(config: ViTConfig, name: str, field: str, value: Any, stages: tuple[str, ...]) -> Mistake:
    here = getattr(config, field)
    shown = [f"{v:g}" if isinstance(v, float) else str(v) for v in (value, here)]
    sentence = f"{name}: {shown[0]} in the reference, {shown[1]} here"
    return Mistake(name, sentence, stages, Change({field: value}))


def _qkv_orders() -> Iterator[Mistake]:
    orders: list[tuple[str, Callable[[jax.Array, int], jax.Array]]] = []
    for order in itertools.permutations(range(3)):
        if order != (0, 1, 2):
            name = ", ".join("qkv"[i] for i in order)
            orders.append((name, lambda x, heads, order=order: _reordered(x, order)))
    orders.append(("of each head", lambda x, heads: _per_head(x, heads)))
    for name, function in orders:
        sentence = f"qkv order: {name} in the reference, q, k, v here"
        yield Mistake("qkv order", sentence, ("block",), Change(edit=_edit_qkv(function)))


def _reordered(qkv: jax.Array, order: tuple[int, ...]) -> jax.Array:
    """What a reference that reads the thirds in another order takes for q, k and v."""
    thirds = jax.numpy.split(qkv, 3, axis=-1)
    return jax.numpy.concatenate([thirds[order.index(i)] for i in range(3)], axis=-1)


def _per_head(qkv: jax.Array, heads: int) -> jax.Array:
    """The same of one that finds q, k and v of the first head first, then of the second …"""
    return rearrange(qkv, "... (h three d) -> ... (three h d)", h=heads, three=3)


def _edit_qkv(function: Callable[[jax.Array, int], jax.Array]) -> Callable[[ViT], None]:
    def edit(model: ViT) -> None:
        for block in model.blocks:
            attention = block.attention
            attention.qkv = _project(attention, function)
            attention.has_qv_bias = False  # it is added before

    return edit


def _project(attention: Any, function: Callable[[jax.Array, int], jax.Array]) -> Any:
    qkv, biased = attention.qkv, attention.has_qv_bias

    def project(tokens: jax.Array) -> jax.Array:
        values = qkv(tokens)
        if biased:
            q, v = attention.q_bias[...], attention.v_bias[...]
            values = values + jax.numpy.concatenate([q, jax.numpy.zeros_like(q), v])
        return function(values, attention.num_heads)

    return project


def _norms(config: ViTConfig) -> Iterator[Mistake]:
    """Each norm left out, and each applied twice."""
    places: dict[str, tuple[tuple[str, ...], Callable[[ViT], list[tuple[Any, str]]]]] = {
        "first norm of the blocks": (("block",), lambda m: [(b, "norm1") for b in m.blocks]),
        "second norm of the blocks": (("block",), lambda m: [(b, "norm2") for b in m.blocks]),
    }
    own = {
        "norm before the blocks": ("pre_norm", config.pre_norm, "embed"),
        "norm after the patch embedding": ("stem_norm", config.stem_norm, "embed"),
        "final norm": ("norm", config.final_norm, "tokens"),
        "norm of the pooled token": ("pooled_norm", config.pooled_norm, "output"),
    }
    for place, (attribute, there, stage) in own.items():
        if there:
            places[place] = ((stage,), lambda m, attribute=attribute: [(m, attribute)])
    for place, (stages, find) in places.items():
        for what, change in (("missing", _left_out), ("doubled", _doubled)):
            edit = _edit_norm(find, change)
            yield Mistake(f"{what} norm", f"{what} in the reference: the {place}", stages, Change(edit=edit))


def _edit_norm(
    find: Callable[[ViT], list[tuple[Any, str]]], change: Callable[[Any], Any]
) -> Callable[[ViT], None]:
    def edit(model: ViT) -> None:
        for owner, attribute in find(model):
            setattr(owner, attribute, change(getattr(owner, attribute)))

    return edit


def _left_out(norm: Any) -> Any:
    return lambda tokens: tokens


def _doubled(norm: Any) -> Any:
    return lambda tokens: norm(norm(tokens))


def _use_batch_statistics(model: ViT) -> None:
    for _, module in nnx.iter_modules(model):
        if isinstance(module, nnx.BatchNorm):
            module.use_running_average = False

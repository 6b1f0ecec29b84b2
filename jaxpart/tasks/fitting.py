"""Adapts a configuration to an encoder's outputs: functions and files of features may return few of them,
and many ViTs have no projector."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.errors import JaxpartError
from jaxpart.features.representations import available, check_representations, has, vectors
from jaxpart.features.table import FeatureTable
from jaxpart.tasks.segmentation.heads import readouts
from jaxpart.tasks.segmentation.options import setting_of


def fitted(config: Any, encoder: FrozenEncoder, say: Callable[[str], None]) -> Any:
    """The configuration without whatever the encoder does not return.

    Of a converted ViT only a missing projection is dropped; anything else is an error later.

    Raises:
      JaxpartError: Nothing is left.
    """
    config = copy.deepcopy(config)
    if isinstance(encoder, Encoder):
        names = config.get("retrieval", {}).get("representations", ())
        if "projection" in names and len(names) > 1 and not has(encoder, "projection"):
            kept = tuple(name for name in names if name != "projection")
            say(f"{encoder.name} has no projection: retrieval uses {', '.join(kept)}")
            config.retrieval.representations = kept
        return config
    usable = tuple(task for task in config.tasks if _FITTED[task](config, encoder, say))
    if not usable:
        raise JaxpartError(
            f"{encoder.name} returns {', '.join(_returned(encoder))}, which none of config.tasks "
            f"({', '.join(config.tasks)}) can use"
        )
    skipped = [task for task in config.tasks if task not in usable]
    if skipped:
        say(
            f"{encoder.name} returns {', '.join(_returned(encoder))}: skipping {', '.join(skipped)}"
        )
    config.tasks = usable
    return config


def _returned(encoder: FrozenEncoder) -> list[str]:
    return [*available(encoder), *(["tokens"] if has(encoder, "tokens", tokens=True) else [])]


def _vectors(encoder: FrozenEncoder) -> list[str]:
    """Representations with a single vector per image; the last block's only if there is no other."""
    names = vectors(encoder)
    return names or ([f"block{encoder.depth - 1}/embedding"] if encoder.depth else [])


def _keep(
    options: Any,
    encoder: FrozenEncoder,
    where: str,
    say: Callable[[str], None],
    *,
    tokens: bool = False,
) -> bool:
    """Drops representations that the encoder does not have; returns whether any is left."""
    names: Sequence[str] = options.representations
    kept = tuple(name for name in names if has(encoder, name, tokens=tokens))
    if kept and len(kept) < len(names):
        missing = ", ".join(name for name in names if name not in kept)
        say(f"{encoder.name} has no {missing}: {where} uses {', '.join(kept)}")
    if kept:
        options.representations = kept
    return bool(kept)


def _retrieval(config: Any, encoder: FrozenEncoder, say: Callable[[str], None]) -> bool:
    if _keep(config.retrieval, encoder, "retrieval", say):
        return True
    config.retrieval.representations = tuple(_vectors(encoder))
    return bool(config.retrieval.representations)


def _heads(task: str, config: Any, encoder: FrozenEncoder, say: Callable[[str], None]) -> bool:
    options = config[task]
    if options.get("views", "eval") == "random" and not encoder.jittable:
        raise JaxpartError(
            f"{encoder.name} cannot be compiled, so it cannot encode random views in every "
            f"epoch; pass --config.{task}.views=eval, which encodes every image once"
        )
    linear = _keep(options.linear, encoder, f"{task}.linear", say)
    others = _vectors(encoder)
    if not linear and others:
        missing = ", ".join(options.linear.representations)
        options.linear.representations, linear = (others[0],), True
        say(f"{encoder.name} has no {missing}: {task}.linear uses {others[0]}")
    heads, attentive = ["linear"] if linear else [], options.attentive
    if _keep(attentive, encoder, f"{task}.attentive", say, tokens=True):
        shapes = check_representations(encoder, attentive.representations, tokens=True)
        if all(width % attentive.num_heads == 0 for _, width in shapes.values()):
            heads.append("attentive")
    dropped = [head for head in options.heads if head not in heads]
    if dropped:
        say(
            f"{task}: skipping {', '.join(f'the {head} head' for head in dropped)}: the encoder does "
            "not return the features needed"
        )
    options.heads = tuple(head for head in options.heads if head in heads)
    options.references = options.references if linear else ()
    return bool(options.heads or options.references)


def _segmentation(config: Any, encoder: FrozenEncoder, say: Callable[[str], None]) -> bool:
    options = config.segmentation
    if isinstance(encoder, FeatureTable):
        return False
    if not encoder.depth:
        if not has(encoder, "tokens", tokens=True):
            return False
        say(f"{encoder.name} returns no blocks: segmentation heads read its tokens")
        return True
    crops = {setting_of(options, name).crop for name in options.sets}
    grids = [[encoder.grid_of(c, c, block) for c in crops] for block in range(encoder.depth)]
    chosen = readouts(options.readouts, encoder.depth)
    kept = {
        name: blocks
        for name, blocks in chosen.items()
        if all(grids[block] == grids[-1] for block in blocks)
    }
    if len(kept) < len(chosen):
        dropped = ", ".join(name for name in chosen if name not in kept)
        options.readouts = tuple(kept) or (f"block{encoder.depth - 1}",)
        say(
            f"the blocks of {encoder.name} have different grids, and segmentation heads read only those "
            f"with the last block's grid: skipping {dropped}"
        )
    return True


def _layers(config: Any, encoder: FrozenEncoder, say: Callable[[str], None]) -> bool:
    known = ["embedding", *(f"{token}_token" for token in encoder.prefix)]
    return encoder.depth > 0 and any(name in known for name in config.layers.tokens)


def _tokens(task: str, config: Any, encoder: FrozenEncoder, say: Callable[[str], None]) -> bool:
    options = config[task]
    if isinstance(encoder, FeatureTable):
        return False
    if not options.representations:
        return has(encoder, "tokens", tokens=True)
    return _keep(options, encoder, task, say, tokens=True)


_FITTED: dict[str, Callable[[Any, FrozenEncoder, Callable[[str], None]], bool]] = {
    "retrieval": _retrieval,
    "classification": functools.partial(_heads, "classification"),
    "object_classification": functools.partial(_heads, "object_classification"),
    "segmentation": _segmentation,
    "layers": _layers,
    "masked_parts": lambda config, encoder, say: False,
    "attention": lambda config, encoder, say: False,
    "correspondence": functools.partial(_tokens, "correspondence"),
    "unsupervised_parts": functools.partial(_tokens, "unsupervised_parts"),
}

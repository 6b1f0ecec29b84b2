"""Rules of the published segmentation that depend on the method: positions, and decay of the head's bias.

Encoders of other families use their own rule for positions, and the most common rule for the bias.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxpart.encoders.encoder import Encoder, with_config
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.positions import PositionResize

_POSITIONS: Mapping[str, PositionResize] = {
    "deit": "bicubic",
    "mocov3": "bicubic",
    "mae": "bicubic",
    "cae": "bicubic",
    "dino": "bicubic_offset",
    "ibot": "bicubic_offset",
}
"""How the published backbones resize a checkpoint's position embeddings; BEiT has tables instead."""

_PAPER_METHODS = (*_POSITIONS, "beit")

_NO_BIAS_DECAY = ("beit", "mae", "cae")
"""Methods whose optimiser (`mmcv_custom/layer_decay_optimizer_constructor.py`) does not decay 1-d
parameters."""

_DESCRIPTIONS = {
    "bicubic": "stored positions, bicubic",
    "bicubic_offset": "stored positions, bicubic with an offset of 0.1",
    "bicubic_antialias": "stored positions, antialiased bicubic",
    "bilinear_antialias": "stored positions, antialiased bilinear",
    "sincos_wh": "sin-cos, recomputed",
}


def for_segmentation(encoder: FrozenEncoder) -> FrozenEncoder:
    """The encoder with the published segmentation's rule for resizing positions.

    The published loader resizes the array in the checkpoint, even if it holds sines and cosines that the
    method itself recomputes. Encoders of other families are unchanged.
    """
    if not isinstance(encoder, Encoder):
        return encoder
    rule = _POSITIONS.get(encoder.name, encoder.config.position_resize)
    if encoder.config.positions == "none" or rule == encoder.config.position_resize:
        return encoder
    config = dataclasses.replace(encoder.config, position_resize=rule)
    return with_config(encoder, config)


def decays_bias(encoder: FrozenEncoder) -> bool:
    """Whether weight decay is applied to the bias of this encoder's head."""
    return encoder.name not in _NO_BIAS_DECAY


def described(encoder: FrozenEncoder, config: Any) -> dict[str, str]:
    """The rules behind a result, in words."""
    return {
        "positions": _positions(for_segmentation(encoder)),
        "weight decay": "weights and bias" if decays_bias(encoder) else "weights alone",
        "resize": config.resize,
    }


def _positions(encoder: FrozenEncoder) -> str:
    if not isinstance(encoder, Encoder):
        return "its own rule"
    architecture, kinds = encoder.config, []
    if architecture.positions != "none":
        kinds.append(_DESCRIPTIONS[architecture.position_resize])
    if architecture.rotary != "none":
        kinds.append("rotary")
    if architecture.relative_bias != "none":
        kinds.append("relative biases, geometrically spaced")
    rule = "as published" if encoder.name in _PAPER_METHODS else "its own rule"
    return f"{' and '.join(kinds) or 'none'} ({rule})"

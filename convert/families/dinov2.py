"""DINOv2 with and without registers (facebookresearch/dinov2, `vision_transformer.py`)."""

from __future__ import annotations

import dataclasses

from convert.families.base import (
    HEADS,
    Arrays,
    Family,
    Layout,
    Options,
    read_positions,
    read_vit,
    vit_rules,
)
from convert.families.layouts import TIMM, TIMM_NAMES, TRANSFORMERS
from convert.rules import Ignore, Rule
from jaxpart.encoders.architecture import ViTConfig

_ORIGINAL_NAMES = (
    *TIMM_NAMES,
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """Registers came with another interpolation; timm added cls's position to cls beside them.

    The giant's MLP is gated.
    """
    fields = read_vit(arrays, options, heads=HEADS | {1536: 24})
    registers = len(fields["prefix"]) > 1
    plain = "bicubic_offset" if options.layout == "original" else "bicubic"
    gated = _gated(arrays, fields["mlp_width"])
    fields |= {
        "position_resize": "bicubic_antialias" if registers else plain,
        "gated_mlp": gated,
        "activation": "silu" if gated else "gelu",
    }
    of_prefix = not (registers and options.layout == "timm")
    return ViTConfig(**read_positions(arrays, fields, options, of_prefix=of_prefix))


def _gated(arrays: Arrays, hidden: int) -> bool:
    packed = arrays.get("blocks.0.mlp.fc1.weight")
    return packed is None or packed.shape[0] == 2 * hidden


def rules(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """Nothing special."""
    return vit_rules(config), []


_UNUSED = (Ignore("mask_token", "pretraining: stands for masked patches"),)

FAMILY = Family(
    "dinov2",
    {
        "original": Layout(ignored=_UNUSED, renames=_ORIGINAL_NAMES),
        "timm": TIMM,
        "transformers": dataclasses.replace(TRANSFORMERS, fields={}),
    },
    architecture,
    rules,
)

"""DINOv2 with and without registers (facebookresearch/dinov2, `vision_transformer.py`)."""

from __future__ import annotations

import dataclasses

from convert.families.base import (
    HEADS,
    Arrays,
    Family,
    Layout,
    Options,
    plain_rules,
    read_positions,
    read_vit,
)
from convert.families.layouts import TIMM, TIMM_NAMES, TRANSFORMERS
from convert.rules import Ignore
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
        "layer_scale": True,
        "gated_mlp": gated,
        "activation": "silu" if gated else "gelu",
    }
    of_prefix = not (registers and options.layout == "timm")
    return ViTConfig(**read_positions(arrays, fields, options, of_prefix=of_prefix))


def _gated(arrays: Arrays, hidden: int) -> bool:
    packed = arrays.get("blocks.0.mlp.fc1.weight")
    return packed is None or packed.shape[0] == 2 * hidden


_UNUSED = (Ignore("mask_token", "pretraining: stands for masked patches"),)

FAMILY = Family(
    "dinov2",
    {
        "original": Layout(ignored=_UNUSED, renames=_ORIGINAL_NAMES),
        "timm": TIMM,
        "transformers": dataclasses.replace(
            TRANSFORMERS,
            ignored=(*_UNUSED, Ignore("head.*", "classifier of cls and mean patch together")),
            fields={},
        ),
    },
    architecture,
    plain_rules,
)

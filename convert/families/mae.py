"""MAE (facebookresearch/mae, `models_mae.py`, `models_vit.py`)."""

from __future__ import annotations

import dataclasses

from convert.families.base import (
    CONTAINER,
    Arrays,
    Family,
    Layout,
    Options,
    Root,
    plain_rules,
    read_positions,
    read_vit,
)
from convert.families.layouts import TIMM, TRANSFORMERS
from convert.rules import Ignore
from jaxpart.encoders.architecture import ViTConfig


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """Sin-cos positions, stored in the checkpoint and interpolated like learned ones on loading."""
    fields = read_vit(arrays, options) | {"positions": "sincos"}
    return ViTConfig(**read_positions(arrays, fields, options))


FAMILY = Family(
    "mae",
    {
        "original": Layout(
            (Root("model"),),
            (
                *CONTAINER,
                Ignore("mask_token", "decoder: its input for masked patches"),
                Ignore("decoder_*", "decoder"),
            ),
        ),
        "timm": TIMM,
        "transformers": dataclasses.replace(
            TRANSFORMERS, ignored=(*TRANSFORMERS.ignored, Ignore("decoder.*", "decoder"))
        ),
    },
    architecture,
    plain_rules,
)

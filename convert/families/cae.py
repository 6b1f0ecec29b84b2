"""CAE (Atten4Vis/CAE, `models/modeling_cae.py`)."""

from __future__ import annotations

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
    """Sin-cos positions as MoCo v3's."""
    fields = read_vit(arrays, options) | {"positions": "sincos", "position_resize": "sincos_wh"}
    return ViTConfig(**read_positions(arrays, fields, options))


FAMILY = Family(
    "cae",
    {
        "original": Layout(
            (Root("model", encoder="encoder."),),
            (
                *CONTAINER,
                Ignore("alignment_encoder.*", "copy of the encoder, for training"),
                Ignore("regresser.*", "latent regressor"),
                Ignore("decoder.*", "decoder"),
                Ignore("mask_token", "regressor: its query for masked patches"),
                Ignore("rd_pos_embed", "positions of regressor and decoder"),
            ),
        ),
        "timm": TIMM,
        "transformers": TRANSFORMERS,
    },
    architecture,
    plain_rules,
)

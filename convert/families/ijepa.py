"""I-JEPA (facebookresearch/ijepa, `src/models/vision_transformer.py`)."""

from __future__ import annotations

from convert.families.base import (
    CONTAINER,
    HEADS,
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
    """No prefix tokens; sin-cos positions, stored in the checkpoint."""
    fields = read_vit(arrays, options, heads=HEADS | {1408: 16}) | {"positions": "sincos"}
    return ViTConfig(**read_positions(arrays, fields, options))


FAMILY = Family(
    "ijepa",
    {
        "original": Layout(
            (Root("target_encoder"), Root("encoder")),
            (
                *CONTAINER,
                Ignore("predictor.*", "predictor of masked patches"),
                Ignore("opt.*", "optimiser state"),
                *(Ignore(key, "training progress") for key in ("loss", "batch_size", "lr")),
                *(Ignore(key, "training progress") for key in ("world_size", "scaler")),
            ),
            renames=((r"^module\.", ""),),
        ),
        "timm": TIMM,
        "transformers": TRANSFORMERS,
    },
    architecture,
    plain_rules,
    sign="pos_embed",
)

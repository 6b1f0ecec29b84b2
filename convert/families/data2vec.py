"""data2vec for images (facebookresearch/data2vec_vision): BEiT's architecture."""

from __future__ import annotations

import dataclasses

from convert.families import beit
from convert.families.base import CONTAINER, Arrays, Family, Layout, Options, Root
from convert.families.layouts import TRANSFORMERS
from convert.rules import Ignore
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.errors import JaxpartError

_UNUSED = (
    Ignore("*relative_position_index", "index into the bias table, follows from the grid"),
    Ignore("mask_token", "pretraining: stands for masked patches"),
    Ignore("lm_head.*", "pretraining: predicts the teacher's representation"),
)


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """BEiT's. Pretraining predicts as many channels as the encoder has, not visual tokens."""
    head = arrays.get("lm_head.weight")
    if head is not None and head.shape[0] != head.shape[1]:
        raise JaxpartError(
            f"lm_head.weight predicts {head.shape[0]} visual tokens, as BEiT's, not a representation"
        )
    return beit.architecture(arrays, projector, options)


FAMILY = Family(
    "data2vec",
    {
        "original": Layout(
            (Root("model"),), (*CONTAINER, *_UNUSED, Ignore("model_ema.*", "teacher"))
        ),
        "transformers": dataclasses.replace(TRANSFORMERS, ignored=_UNUSED, fields={}),
    },
    architecture,
    beit.rules,
)

"""data2vec for images (facebookresearch/data2vec_vision): BEiT's architecture and names."""

from __future__ import annotations

import dataclasses
from typing import Any

from convert.families import beit
from convert.family import Arrays, Ignore, Layout
from convert.options import Options
from jaxpart.errors import JaxpartError

NAMES = (
    beit.NAMES
    + """
    lm_head.weight                                  lm_head
"""
)


def adjust(arrays: Arrays, fields: dict[str, Any], options: Options) -> dict[str, Any]:
    """As for BEiT. Pretraining predicts as many channels as the encoder has, not visual tokens."""
    head = arrays.get("lm_head")
    if head is not None and head.shape[0] != head.shape[-1]:
        raise JaxpartError(
            f"lm_head.weight predicts {head.shape[0]} visual tokens, like BEiT's, not a representation"
        )
    return beit.adjust(arrays, fields, options)


FAMILY = dataclasses.replace(
    beit.FAMILY,
    name="data2vec",
    layouts={
        "original": Layout(
            NAMES,
            networks=("model",),
            ignored=(
                beit.INDEX,
                Ignore("mask_token", "pretraining: stands for masked patches"),
                Ignore("lm_head.*", "pretraining: predicts the teacher's representation"),
            ),
        ),
        "transformers": dataclasses.replace(beit.FAMILY.layout("transformers"), fields={}),
    },
    decoder=None,
    adjust=adjust,
)

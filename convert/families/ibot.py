"""iBOT (bytedance/ibot): DINO's encoder and head, with a second last layer for patches."""

from __future__ import annotations

import dataclasses
from typing import Any

from convert.families import dino
from convert.families.layouts import TIMM, TRANSFORMERS
from convert.family import Arrays, Family, Ignore
from convert.options import Options
from jaxpart.errors import JaxpartError

NAMES = (
    dino.NAMES
    + """
    ../head.last_layer2.weight_g                           projector.head.patch_last.weight:magnitude
    ../head.last_layer2.weight_v                           projector.head.patch_last.weight:direction
    ../head.last_layer2.parametrizations.weight.original0  projector.head.patch_last.weight:magnitude
    ../head.last_layer2.parametrizations.weight.original1  projector.head.patch_last.weight:direction
    ../head.last_layer2                                    projector.head.patch_last
"""
)


def adjust(arrays: Arrays, fields: dict[str, Any], options: Options) -> dict[str, Any]:
    """A head without a layer for patches is not iBOT's."""
    if fields["projector"] is not None and not fields["projector"].patch_out:
        raise JaxpartError("the array last_layer2.weight, iBOT's layer for patches, is missing")
    return fields


FAMILY = Family(
    "ibot",
    {
        "original": dataclasses.replace(
            dino.ORIGINAL,
            names=NAMES,
            networks=("teacher", "student", "state_dict"),
            ignored=(Ignore("masked_embed", "stands for masked patches in training"),),
        ),
        "timm": TIMM,
        "transformers": TRANSFORMERS,
    },
    fields=dino.FAMILY.fields,
    projectors=frozenset({"bottleneck"}),
    adjust=adjust,
)

"""SigLIP 2 (google-research/big_vision): SigLIP's encoder at fixed sizes, and NaFlex at any."""

from __future__ import annotations

import dataclasses
from typing import Any

from convert.families import siglip
from convert.family import Arrays
from convert.options import Options


def adjust(arrays: Arrays, fields: dict[str, Any], options: Options) -> dict[str, Any]:
    """NaFlex embeds flat patches, and has its own rule for interpolating positions."""
    rule = "bicubic_antialias" if options.layout == "timm" else "bicubic"
    if len(arrays["stem.projection.weight"].shape) == 2:
        rule = "bilinear_antialias"
    return fields | {"position_resize": rule}


FAMILY = dataclasses.replace(
    siglip.FAMILY,
    name="siglip2",
    layouts={
        name: dataclasses.replace(layout, fields={})
        for name, layout in siglip.FAMILY.layouts.items()
    },
    adjust=adjust,
)

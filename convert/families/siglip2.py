"""SigLIP 2 (google-research/big_vision): SigLIP's encoder at fixed sizes, and NaFlex at any."""

from __future__ import annotations

import dataclasses

from convert.families import siglip
from convert.families.base import Arrays, Family, Options
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.positions import PositionResize


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """NaFlex embeds flat patches, and brings its positions to an image's grid by a rule of its own."""
    config = siglip.architecture(arrays, projector, options)
    if arrays["patch_embed.proj.weight"].ndim == 2:
        return dataclasses.replace(config, position_resize="bilinear_antialias")
    resize: PositionResize = "bicubic_antialias" if options.layout == "timm" else "bicubic"
    return dataclasses.replace(config, position_resize=resize)


FAMILY = Family(
    "siglip2",
    {
        name: dataclasses.replace(layout, fields={})
        for name, layout in siglip.FAMILY.layouts.items()
    },
    architecture,
    siglip.rules,
    sign="pos_embed",
)

"""DeiT, distilled DeiT and DeiT III (facebookresearch/deit, `models.py`, `models_v2.py`)."""

from __future__ import annotations

from convert.families.base import (
    CONTAINER,
    Arrays,
    Family,
    Options,
    Root,
    layer,
    read_positions,
    read_vit,
    shape,
    vit_rules,
)
from convert.rules import Rule
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.projectors import ProjectorConfig


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """A dist token has positions and a classifier of its own; DeiT III's positions spare cls."""
    distilled = "dist_token" in arrays
    fields = read_vit(arrays, options) | {"prefix": ("cls", "dist") if distilled else ("cls",)}
    classes = shape(arrays, "head.weight")[0]
    classifier = ProjectorConfig("classifier", out=classes, heads=2 if distilled else 1)
    return ViTConfig(**read_positions(arrays, fields, options), projector=classifier)


def rules(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """The classifier of the dist token is a second head."""
    table = vit_rules(config) + layer("head", "projector.heads.0")
    if "dist" in config.prefix:
        table += layer("head_dist", "projector.heads.1")
    return table, []


FAMILY = Family("deit", (Root("model"),), architecture, rules, CONTAINER)

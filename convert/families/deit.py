"""DeiT, distilled DeiT and DeiT III (facebookresearch/deit, `models.py`, `models_v2.py`)."""

from __future__ import annotations

from convert.families.base import (
    CONTAINER,
    HEADS,
    Arrays,
    Family,
    Layout,
    Options,
    Root,
    layer,
    read_positions,
    read_vit,
    shape,
    vit_rules,
)
from convert.families.layouts import TIMM, TRANSFORMERS
from convert.rules import Rule
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.projectors import ProjectorConfig


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """A dist token has positions and a classifier of its own; DeiT III, with layer scale, has none of cls.

    timm and transformers also keep it without its classifier, the original release does not.
    """
    distilled = "dist_token" in arrays
    fields = read_vit(arrays, options, heads=HEADS | {512: 8})
    fields |= {"prefix": ("cls", "dist") if distilled else ("cls",)}
    classifier = None
    if options.layout == "original" or "head.weight" in arrays:
        classes = shape(arrays, "head.weight")[0]
        two = distilled and (options.layout == "original" or "head_dist.weight" in arrays)
        classifier = ProjectorConfig("classifier", out=classes, heads=2 if two else 1)
    fields = read_positions(arrays, fields, options, of_prefix=not fields["layer_scale"])
    return ViTConfig(**fields, projector=classifier)


def rules(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """The classifier of the dist token is a second head."""
    table = vit_rules(config)
    if config.projector is not None:
        for k, name in enumerate(("head", "head_dist")[: config.projector.heads]):
            table += layer(name, f"projector.heads.{k}")
    return table, []


FAMILY = Family(
    "deit",
    {
        "original": Layout((Root("model"),), CONTAINER),
        "timm": TIMM,
        "transformers": TRANSFORMERS,
    },
    architecture,
    rules,
)

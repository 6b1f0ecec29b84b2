"""DINO (facebookresearch/dino, `vision_transformer.py`) and the head that iBOT shares with it."""

from __future__ import annotations

from convert.families.base import (
    CONTAINER,
    Arrays,
    Family,
    Layout,
    Options,
    Root,
    read_positions,
    read_vit,
    shape,
)
from convert.families.layouts import TIMM, TRANSFORMERS
from convert.families.tables import layer, linear, vit_rules, weight_norm
from convert.rules import Ignore, Rule
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.projectors import ProjectorConfig

FULL = tuple(
    Root(key, encoder=f"{wrap}backbone.", projector=f"{wrap}head.")
    for key, wrap in (
        ("teacher", ""),
        ("student", "module."),
        ("teacher", "module."),
        ("student", ""),
    )
)
"""Teacher and student of a full checkpoint, wrapped for distributed training or not."""


def _out(projector: Arrays, name: str) -> int:
    """Output channels of a last layer, stored plain or with weight norm; 0 without one."""
    for key in (f"{name}.weight", f"{name}.weight_v"):
        if key in projector:
            return shape(projector, key)[0]
    return 0


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """Positions are interpolated with DINO's offset of 0.1."""
    config = None
    if projector:
        layers = sorted({int(key.split(".")[1]) for key in projector if key.startswith("mlp.")})
        widths = [shape(projector, f"mlp.{i}.weight")[0] for i in layers]
        config = ProjectorConfig(
            "bottleneck",
            out=_out(projector, "last_layer"),
            hidden=tuple(widths[:-1]),
            bottleneck=widths[-1] if widths else 0,
            patch_out=_out(projector, "last_layer2"),
        )
    fields = read_vit(arrays, options) | {"position_resize": "bicubic_offset"}
    return ViTConfig(**read_positions(arrays, fields, options), projector=config)


def rules(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """The MLP's sequence is linear, GELU, linear, …; last layers may carry weight norm."""
    beside: list[Rule] = []
    if config.projector is not None:
        for k in range(len(config.projector.hidden) + 1):
            beside += layer(f"mlp.{2 * k}", f"projector.head.layers.{k}")
        for source, target in (("last_layer", "last"), ("last_layer2", "patch_last")):
            kernel = f"projector.head.{target}.kernel"
            beside.append(Rule((f"{source}.weight",), kernel, linear))
            beside.append(Rule((f"{source}.weight_g", f"{source}.weight_v"), kernel, weight_norm))
    return vit_rules(config), beside


def architecture_without_patch_layer(
    arrays: Arrays, projector: Arrays, options: Options
) -> ViTConfig:
    """A second last layer is iBOT's: left to the strict mapping to refuse."""
    kept = {key: value for key, value in projector.items() if not key.startswith("last_layer2")}
    return architecture(arrays, kept, options)


def rules_without_patch_layer(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """DINO's own table."""
    table, beside = rules(config)
    return table, [rule for rule in beside if not rule.source[0].startswith("last_layer2")]


FAMILY = Family(
    "dino",
    {
        "original": Layout(
            (*FULL, Root("")), (*CONTAINER, Ignore("dino_loss.*", "centre of the loss"))
        ),
        "timm": TIMM,
        "transformers": TRANSFORMERS,
    },
    architecture_without_patch_layer,
    rules_without_patch_layer,
)

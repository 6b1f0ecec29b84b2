"""MoCo v3 (facebookresearch/moco-v3, `vits.py`, `moco/builder.py`), with and without conv stem."""

from __future__ import annotations

import re

from convert.families.base import (
    CONTAINER,
    HEADS,
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
from convert.families.tables import batch_norm, convolution, layer, same, vit_rules
from convert.rules import Ignore, Rule
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.projectors import ProjectorConfig

_CONVOLUTIONS = 4


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """Its ViT-S has 12 heads; positions are sin-cos, stored in the checkpoint."""
    stem = "conv" if "patch_embed.proj.0.weight" in arrays else "patch"
    fields = read_vit(arrays, options, heads=HEADS | {384: 12}) | {
        "stem": stem,
        "positions": "sincos",
        "position_resize": "sincos_wh",
    }
    layers = sorted(
        int(key.split(".")[1])
        for key in arrays
        if re.fullmatch(r"head\.\d+\.weight", key) and arrays[key].ndim == 2
    )
    widths = tuple(shape(arrays, f"head.{i}.weight")[0] for i in layers)
    config = None
    if widths:
        predictor = 0
        if "predictor.0.weight" in projector:
            predictor = shape(projector, "predictor.0.weight")[0]
        config = ProjectorConfig("mlp_bn", widths[-1], hidden=widths[:-1], predictor=predictor)
    return ViTConfig(**read_positions(arrays, fields, options), projector=config)


def _mlp(source: str, target: str, layers: int) -> list[Rule]:
    """Linear, BN, ReLU at positions 3k, 3k + 1, 3k + 2 of a sequence."""
    table = []
    for k in range(layers):
        table += layer(f"{source}.{3 * k}", f"{target}.layers.{k}", bias=False)
        table += batch_norm(f"{source}.{3 * k + 1}", f"{target}.norms.{k}", affine=k + 1 != layers)
    return table


def rules(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """The stem's sequence is convolution, BN, ReLU four times, and a 1×1 convolution."""
    table, beside = vit_rules(config), []
    if config.stem == "conv":
        proj = "patch_embed.proj"
        for k in range(_CONVOLUTIONS):
            kernel = f"stem.convolutions.{k}.kernel"
            table.append(Rule((f"{proj}.{3 * k}.weight",), kernel, convolution))
            table += batch_norm(f"{proj}.{3 * k + 1}", f"stem.norms.{k}")
        last = 3 * _CONVOLUTIONS
        table.append(Rule((f"{proj}.{last}.weight",), "stem.projection.kernel", convolution))
        table.append(Rule((f"{proj}.{last}.bias",), "stem.projection.bias", same))
    if config.projector is not None:
        table += _mlp("head", "projector.mlp", len(config.projector.hidden) + 1)
        if config.projector.predictor:
            beside = _mlp("predictor", "predictor.mlp", 2)
    return table, beside


FAMILY = Family(
    "mocov3",
    {
        "original": Layout(
            (Root("state_dict", encoder="module.base_encoder.", projector="module."),),
            (
                *CONTAINER,
                Ignore("module.momentum_encoder.*", "moving average of the encoder, for training"),
                Ignore(
                    "*.num_batches_tracked", "counter that BatchNorm does not use with a momentum"
                ),
            ),
        ),
        "timm": TIMM,
        "transformers": TRANSFORMERS,
    },
    architecture,
    rules,
)

"""BEiT (microsoft/unilm/beit): pretraining and fine-tuned checkpoints."""

from __future__ import annotations

import dataclasses
import math

from convert.families.base import (
    CONTAINER,
    HEADS,
    Arrays,
    Family,
    Layout,
    Options,
    Root,
    classifier,
    classifier_rules,
    image_size_of,
    read_vit,
    same,
    shape,
    vit_rules,
)
from convert.families.layouts import TIMM, TRANSFORMERS
from convert.rules import Ignore, Rule
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.errors import JaxpartError

_SHARED = "rel_pos_bias.relative_position_bias_table"
_PER_BLOCK = "blocks.{i}.attn.relative_position_bias_table"
_CLS_ROWS = 3
_UNUSED = (
    Ignore("*relative_position_index", "index into the bias table, follows from the grid"),
    Ignore("mask_token", "pretraining: stands for masked patches"),
    Ignore("lm_head.*", "pretraining: classifier of visual tokens"),
)


def _image_size(rows: int, patch_size: int, options: Options) -> tuple[int, int]:
    """Pixels that a table of (2h − 1)(2w − 1) + 3 rows belongs to."""
    side = math.isqrt(rows - _CLS_ROWS)
    if side * side == rows - _CLS_ROWS and side % 2:
        return image_size_of(((side + 1) // 2) ** 2, patch_size, options)
    if options.image_size is not None:
        height, width = (pixels // patch_size for pixels in options.image_size)
        if (2 * height - 1) * (2 * width - 1) == rows - _CLS_ROWS:
            return options.image_size
    raise JaxpartError(
        f"a relative position bias table of {rows} rows belongs to no square grid; pass the "
        f"--image-size HxW that the encoder was trained at"
    )


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """One bias table for all blocks after pretraining, one per block after fine-tuning."""
    shared = _SHARED in arrays
    rows, table_heads = shape(arrays, _SHARED if shared else _PER_BLOCK.replace("{i}", "0"))
    width = shape(arrays, "cls_token")[-1]
    fields = read_vit(arrays, options, heads=HEADS | {width: table_heads})
    return ViTConfig(
        **fields,
        image_size=_image_size(rows, fields["patch_size"], options),
        positions="none",
        relative_bias="shared" if shared else "per_block",
        final_norm="norm.weight" in arrays,
        pooled_norm="fc_norm.weight" in arrays,
        projector=classifier(arrays),
    )


def rules(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """Bias tables, and the classifier of the mean patch token."""
    table = vit_rules(config)
    if config.relative_bias == "shared":
        table.append(Rule((_SHARED,), "relative_bias.table", same))
    else:
        table.append(Rule((_PER_BLOCK,), "blocks.{i}.relative_bias.table", same))
    return table + classifier_rules(config), []


FAMILY = Family(
    "beit",
    {
        "original": Layout((Root("model"),), (*CONTAINER, *_UNUSED)),
        "timm": dataclasses.replace(TIMM, ignored=_UNUSED),
        "transformers": dataclasses.replace(TRANSFORMERS, ignored=_UNUSED),
    },
    architecture,
    rules,
)

"""BEiT and BEiT v2 (microsoft/unilm/beit, beit2): pretraining and fine-tuned checkpoints."""

from __future__ import annotations

import dataclasses
from typing import Any

from convert.decoders import BEIT
from convert.families.layouts import BIAS_TABLE_NAMES, LAMBDA_NAMES, TIMM, TRANSFORMERS
from convert.family import HEADS, Arrays, Family, Ignore, Layout, shape
from convert.names import Names
from convert.options import Options
from jaxpart.errors import JaxpartError

NAMES = Names("""
    cls_token                                       prefix_tokens:cls
    patch_embed.proj                                stem.projection
    rel_pos_bias.relative_position_bias_table       relative_bias.table
    blocks.{i}.norm1                                blocks.{i}.norm1
    blocks.{i}.attn.relative_position_bias_table    blocks.{i}.relative_bias.table
    blocks.{i}.attn.qkv                             blocks.{i}.attention.qkv
    blocks.{i}.attn.q_bias                          blocks.{i}.attention.qkv.bias:q
    blocks.{i}.attn.v_bias                          blocks.{i}.attention.qkv.bias:v
    blocks.{i}.attn.proj                            blocks.{i}.attention.out
    blocks.{i}.gamma_1                              blocks.{i}.scale1
    blocks.{i}.norm2                                blocks.{i}.norm2
    blocks.{i}.mlp.fc1                              blocks.{i}.mlp.fc1
    blocks.{i}.mlp.fc2                              blocks.{i}.mlp.fc2
    blocks.{i}.gamma_2                              blocks.{i}.scale2
    norm                                            norm
    fc_norm                                         pooled_norm
    head                                            projector.heads.0
""")
TRANSFORMERS_NAMES = (
    LAMBDA_NAMES
    + """
    encoder.relative_position_bias.relative_position_bias_table         relative_bias.table
    shared_position_bias.relative_position_bias_table                   relative_bias.table
    encoder.layer.{i}.attention.attention.relative_position_bias.relative_position_bias_table \
        blocks.{i}.relative_bias.table
    encoder.layer.{i}.relative_position_bias.relative_position_bias_table \
        blocks.{i}.relative_bias.table
    """
    + TRANSFORMERS.names
)

INDEX = Ignore("*relative_position_index", "index into the bias table, follows from the grid")
SECOND_HEAD = (
    Ignore("cls_pt_layers.*", "BEiT v2's pretraining: blocks after the encoder, for the cls token"),
    Ignore("*pt_head.*", "BEiT v2's pretraining: classifier after those blocks"),
)


def adjust(arrays: Arrays, fields: dict[str, Any], options: Options) -> dict[str, Any]:
    """One bias table for all blocks after pretraining, one per block after fine-tuning.

    It determines the number of heads.
    """
    if fields["relative_bias"] == "none":
        raise JaxpartError("the array relative_position_bias_table is missing")
    shared = fields["relative_bias"] == "shared"
    name = "relative_bias.table" if shared else "blocks.0.relative_bias.table"
    heads = options.num_heads or shape(arrays, name, 2)[1]
    return fields | {"num_heads": heads, "positions": "none"}


FAMILY = Family(
    "beit",
    {
        "original": Layout(
            NAMES, networks=("model",), ignored=(INDEX, *SECOND_HEAD, *BEIT.replaces)
        ),
        "timm": dataclasses.replace(
            TIMM, names=BIAS_TABLE_NAMES + TIMM.names, ignored=(INDEX, *BEIT.replaces)
        ),
        "transformers": dataclasses.replace(
            TRANSFORMERS,
            names=TRANSFORMERS_NAMES,
            ignored=(
                INDEX,
                Ignore("../lm_head.*", "pretraining: classifier of visual tokens"),
                *TRANSFORMERS.ignored,
            ),
        ),
    },
    inferred=frozenset(
        {"relative_bias", "layer_scale", "qkv_bias", "final_norm", "pooled_norm", "num_heads"}
    ),
    heads=HEADS,
    projectors=frozenset({"classifier"}),
    decoder=BEIT,
    adjust=adjust,
)

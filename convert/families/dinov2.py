"""DINOv2 with and without registers (facebookresearch/dinov2, `vision_transformer.py`)."""

from __future__ import annotations

import dataclasses
from typing import Any

from convert.families.layouts import MASK_TOKEN, TIMM, TRANSFORMERS
from convert.family import HEADS, Arrays, Family, Layout
from convert.names import Names
from convert.options import Options

NAMES = Names("""
    cls_token                   prefix_tokens:cls
    register_tokens             prefix_tokens:registers
    pos_embed                   positions
    patch_embed.proj            stem.projection
    blocks.{i}.norm1            blocks.{i}.norm1
    blocks.{i}.attn.qkv         blocks.{i}.attention.qkv
    blocks.{i}.attn.proj        blocks.{i}.attention.out
    blocks.{i}.ls1.gamma        blocks.{i}.scale1
    blocks.{i}.norm2            blocks.{i}.norm2
    blocks.{i}.mlp.fc1          blocks.{i}.mlp.fc1
    blocks.{i}.mlp.fc2          blocks.{i}.mlp.fc2
    blocks.{i}.mlp.w12          blocks.{i}.mlp.fc1
    blocks.{i}.mlp.w3           blocks.{i}.mlp.fc2
    blocks.{i}.ls2.gamma        blocks.{i}.scale2
    norm                        norm
""")
TRANSFORMERS_NAMES = (
    """
    encoder.layer.{i}.norm1             blocks.{i}.norm1
    encoder.layer.{i}.norm2             blocks.{i}.norm2
    encoder.layer.{i}.mlp.fc1           blocks.{i}.mlp.fc1
    encoder.layer.{i}.mlp.fc2           blocks.{i}.mlp.fc2
    encoder.layer.{i}.mlp.weights_in    blocks.{i}.mlp.fc1
    encoder.layer.{i}.mlp.weights_out   blocks.{i}.mlp.fc2
    """
    + TRANSFORMERS.names
)


def adjust(arrays: Arrays, fields: dict[str, Any], options: Options) -> dict[str, Any]:
    """With registers, positions are interpolated differently, and timm folds cls's position into cls.

    The giant's MLP is gated.
    """
    registers = len(fields["prefix"]) > 1
    plain = "bicubic_offset" if options.layout == "original" else "bicubic"
    return fields | {
        "position_resize": "bicubic_antialias" if registers else plain,
        "activation": "silu" if fields["gated_mlp"] else "gelu",
        "slots": "none" if registers and options.layout == "timm" else "cls",
    }


FAMILY = Family(
    "dinov2",
    {
        "original": Layout(NAMES, networks=("teacher", "student"), ignored=(MASK_TOKEN,)),
        "timm": TIMM,
        "transformers": dataclasses.replace(TRANSFORMERS, names=TRANSFORMERS_NAMES, fields={}),
    },
    fields={"layer_scale": True},
    inferred=frozenset({"gated_mlp"}),
    optional_tokens=("registers",),
    heads=HEADS | {1536: 24},
    adjust=adjust,
)

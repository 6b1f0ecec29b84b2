"""DeiT, distilled DeiT and DeiT III (facebookresearch/deit, `models.py`, `models_v2.py`)."""

from __future__ import annotations

from typing import Any

from convert.families.layouts import TIMM, TRANSFORMERS
from convert.family import HEADS, Arrays, Family, Layout, shape
from convert.names import Names
from convert.options import Options

NAMES = Names("""
    cls_token                   prefix_tokens:cls
    dist_token                  prefix_tokens:dist
    pos_embed                   positions
    patch_embed.proj            stem.projection
    blocks.{i}.norm1            blocks.{i}.norm1
    blocks.{i}.attn.qkv         blocks.{i}.attention.qkv
    blocks.{i}.attn.proj        blocks.{i}.attention.out
    blocks.{i}.gamma_1          blocks.{i}.scale1
    blocks.{i}.norm2            blocks.{i}.norm2
    blocks.{i}.mlp.fc1          blocks.{i}.mlp.fc1
    blocks.{i}.mlp.fc2          blocks.{i}.mlp.fc2
    blocks.{i}.gamma_2          blocks.{i}.scale2
    norm                        norm
    head                        projector.heads.0
    head_dist                   projector.heads.1
""")


def adjust(arrays: Arrays, fields: dict[str, Any], options: Options) -> dict[str, Any]:
    """The release has a classifier; DeiT III, with layer scale, has no position for cls."""
    if options.layout == "original":
        shape(arrays, "projector.heads.0.weight", 2)
        if "dist" in fields["prefix"]:
            shape(arrays, "projector.heads.1.weight", 2)
    return fields | ({"slots": "none"} if fields["layer_scale"] else {})


FAMILY = Family(
    "deit",
    {"original": Layout(NAMES, networks=("model",)), "timm": TIMM, "transformers": TRANSFORMERS},
    inferred=frozenset({"layer_scale"}),
    optional_tokens=("dist",),
    heads=HEADS | {512: 8},
    projectors=frozenset({"classifier"}),
    adjust=adjust,
)

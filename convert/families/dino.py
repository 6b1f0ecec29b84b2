"""DINO (facebookresearch/dino, `vision_transformer.py`) and the head that iBOT shares with it."""

from __future__ import annotations

from convert.families.layouts import TIMM, TRANSFORMERS
from convert.family import Family, Layout
from convert.names import Names

NAMES = Names("""
    cls_token                                           prefix_tokens:cls
    pos_embed                                           positions
    patch_embed.proj                                    stem.projection
    blocks.{i}.norm1                                    blocks.{i}.norm1
    blocks.{i}.attn.qkv                                 blocks.{i}.attention.qkv
    blocks.{i}.attn.proj                                blocks.{i}.attention.out
    blocks.{i}.norm2                                    blocks.{i}.norm2
    blocks.{i}.mlp.fc1                                  blocks.{i}.mlp.fc1
    blocks.{i}.mlp.fc2                                  blocks.{i}.mlp.fc2
    norm                                                norm
    ../head.mlp.{2i}                                       projector.head.layers.{i}
    ../head.last_layer.weight_g                            projector.head.last.weight:magnitude
    ../head.last_layer.weight_v                            projector.head.last.weight:direction
    ../head.last_layer.parametrizations.weight.original0   projector.head.last.weight:magnitude
    ../head.last_layer.parametrizations.weight.original1   projector.head.last.weight:direction
    ../head.last_layer                                     projector.head.last
""")

ORIGINAL = Layout(NAMES, encoder=("backbone.", ""), networks=("teacher", "student"))

FAMILY = Family(
    "dino",
    {"original": ORIGINAL, "timm": TIMM, "transformers": TRANSFORMERS},
    fields={"position_resize": "bicubic_offset"},
    projectors=frozenset({"bottleneck"}),
)

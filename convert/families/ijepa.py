"""I-JEPA (facebookresearch/ijepa, `src/models/vision_transformer.py`)."""

from __future__ import annotations

from convert.families.layouts import TIMM, TRANSFORMERS
from convert.family import HEADS, Family, Layout
from convert.names import Names

NAMES = Names("""
    pos_embed                   positions
    patch_embed.proj            stem.projection
    blocks.{i}.norm1            blocks.{i}.norm1
    blocks.{i}.attn.qkv         blocks.{i}.attention.qkv
    blocks.{i}.attn.proj        blocks.{i}.attention.out
    blocks.{i}.norm2            blocks.{i}.norm2
    blocks.{i}.mlp.fc1          blocks.{i}.mlp.fc1
    blocks.{i}.mlp.fc2          blocks.{i}.mlp.fc2
    norm                        norm
""")

FAMILY = Family(
    "ijepa",
    {
        "original": Layout(NAMES, networks=("target_encoder", "encoder")),
        "timm": TIMM,
        "transformers": TRANSFORMERS,
    },
    fields={"positions": "sincos"},
    tokens=(),
    heads=HEADS | {1408: 16},
)
"""No prefix tokens; sin-cos positions, stored in the checkpoint. The target encoder is evaluated."""

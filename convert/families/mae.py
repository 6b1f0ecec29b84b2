"""MAE (facebookresearch/mae, `models_mae.py`, `models_vit.py`)."""

from __future__ import annotations

import dataclasses

from convert.decoders import MAE
from convert.families.layouts import TIMM, TRANSFORMERS
from convert.family import Family, Ignore, Layout
from convert.names import Names

NAMES = Names("""
    cls_token                   prefix_tokens:cls
    pos_embed                   positions
    patch_embed.proj            stem.projection
    blocks.{i}.norm1            blocks.{i}.norm1
    blocks.{i}.attn.qkv         blocks.{i}.attention.qkv
    blocks.{i}.attn.proj        blocks.{i}.attention.out
    blocks.{i}.norm2            blocks.{i}.norm2
    blocks.{i}.mlp.fc1          blocks.{i}.mlp.fc1
    blocks.{i}.mlp.fc2          blocks.{i}.mlp.fc2
    norm                        norm
    fc_norm                     pooled_norm
    head                        projector.heads.0
""")

FAMILY = Family(
    "mae",
    {
        "original": Layout(NAMES, networks=("model",), ignored=MAE.replaces),
        "timm": TIMM,
        "transformers": dataclasses.replace(
            TRANSFORMERS, ignored=(Ignore("../decoder.*", "decoder"), *TRANSFORMERS.ignored)
        ),
    },
    fields={"positions": "sincos"},
    decoder=MAE,
)
"""Sin-cos positions, stored in the checkpoint and interpolated like learned ones on loading."""

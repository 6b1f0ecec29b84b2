"""CAE (Atten4Vis/CAE, `models/modeling_cae.py`)."""

from __future__ import annotations

import dataclasses

from convert.decoders import CAE
from convert.families.layouts import BIAS_TABLE_NAMES, LAMBDA_NAMES, TIMM, TRANSFORMERS
from convert.family import Family, Layout
from convert.names import Names

NAMES = Names("""
    cls_token                   prefix_tokens:cls
    pos_embed                   positions
    patch_embed.proj            stem.projection
    blocks.{i}.norm1            blocks.{i}.norm1
    blocks.{i}.attn.qkv         blocks.{i}.attention.qkv
    blocks.{i}.attn.q_bias      blocks.{i}.attention.qkv.bias:q
    blocks.{i}.attn.v_bias      blocks.{i}.attention.qkv.bias:v
    blocks.{i}.attn.proj        blocks.{i}.attention.out
    blocks.{i}.gamma_1          blocks.{i}.scale1
    blocks.{i}.norm2            blocks.{i}.norm2
    blocks.{i}.mlp.fc1          blocks.{i}.mlp.fc1
    blocks.{i}.mlp.fc2          blocks.{i}.mlp.fc2
    blocks.{i}.gamma_2          blocks.{i}.scale2
    norm                        norm
    head                        projector.heads.0
""")

FAMILY = Family(
    "cae",
    {
        "original": Layout(NAMES, encoder=("encoder.",), networks=("model",), ignored=CAE.replaces),
        "timm": dataclasses.replace(TIMM, names=BIAS_TABLE_NAMES + TIMM.names),
        "transformers": dataclasses.replace(TRANSFORMERS, names=LAMBDA_NAMES + TRANSFORMERS.names),
    },
    fields={"positions": "sincos", "position_resize": "sincos_wh"},
    inferred=frozenset({"layer_scale", "qkv_bias"}),
    decoder=CAE,
)
"""Sin-cos positions like MoCo v3's."""

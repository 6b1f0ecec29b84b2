"""SigLIP's image encoder (google-research/big_vision, `models/vit.py`), alone or inside PaliGemma.

It uses tanh GELU; timm builds some of its variants with the exact one, which no array shows.
"""

from __future__ import annotations

import dataclasses

from convert.families.augreg import NAMES as JAX_NAMES
from convert.families.clip import POSITION_IDS, TEXT, TOWER_NAMES
from convert.families.layouts import TIMM
from convert.family import HEADS, Family, Ignore, Layout

NAMES = (
    JAX_NAMES
    + """
    MAPHead_0.probe                 projector.pool.probe
    MAPHead_0.attention.query       projector.pool.qkv:q
    MAPHead_0.attention.key         projector.pool.qkv:k
    MAPHead_0.attention.value       projector.pool.qkv:v
    MAPHead_0.attention.out         projector.pool.out
    MAPHead_0.LayerNorm_0           projector.pool.norm
    MAPHead_0.MlpBlock.Dense_0      projector.pool.fc1
    MAPHead_0.MlpBlock.Dense_1      projector.pool.fc2
"""
)
TIMM_NAMES = (
    TIMM.names
    + """
    attn_pool.latent                projector.pool.probe
    attn_pool.q                     projector.pool.qkv:q
    attn_pool.kv                    projector.pool.qkv:kv
    attn_pool.proj                  projector.pool.out
    attn_pool.norm                  projector.pool.norm
    attn_pool.mlp.fc1               projector.pool.fc1
    attn_pool.mlp.fc2               projector.pool.fc2
"""
)
TRANSFORMERS_NAMES = (
    TOWER_NAMES
    + """
    head.probe                      projector.pool.probe
    head.attention.in_proj_weight   projector.pool.qkv.weight
    head.attention.in_proj_bias     projector.pool.qkv.bias
    head.attention.out_proj         projector.pool.out
    head.layernorm                  projector.pool.norm
    head.mlp.fc1                    projector.pool.fc1
    head.mlp.fc2                    projector.pool.fc2
"""
)

FAMILY = Family(
    "siglip",
    {
        "original": Layout(
            NAMES, ignored=(Ignore("head.*", "projection for the text or the language model"),)
        ),
        "timm": dataclasses.replace(TIMM, names=TIMM_NAMES),
        "transformers": Layout(
            TRANSFORMERS_NAMES,
            encoder=("vision_model.", ""),
            ignored=(*TEXT, POSITION_IDS),
            fields={"position_resize": "bicubic"},
        ),
    },
    fields={"activation": "gelu_tanh"},
    tokens=(),
    heads=HEADS | {1152: 16, 1536: 16},
    projectors=frozenset({"attention_pool"}),
)
"""No prefix tokens, tanh GELU, and an attention pooling head, which the gap variants lack."""

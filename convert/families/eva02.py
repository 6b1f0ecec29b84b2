"""EVA-02 (baaivision/EVA, `EVA-02/asuka`) and its CLIP: pretraining, fine-tuned and CLIP checkpoints."""

from __future__ import annotations

from convert.families.clip import TEXT
from convert.families.layouts import TIMM
from convert.family import HEADS, Family, Ignore, Layout
from convert.names import Names

NAMES = Names("""
    cls_token                       prefix_tokens:cls
    pos_embed                       positions
    patch_embed.proj                stem.projection
    blocks.{i}.norm1                blocks.{i}.norm1
    blocks.{i}.attn.qkv             blocks.{i}.attention.qkv
    blocks.{i}.attn.q_proj          blocks.{i}.attention.qkv:q
    blocks.{i}.attn.k_proj          blocks.{i}.attention.qkv:k
    blocks.{i}.attn.v_proj          blocks.{i}.attention.qkv:v
    blocks.{i}.attn.q_bias          blocks.{i}.attention.qkv.bias:q
    blocks.{i}.attn.v_bias          blocks.{i}.attention.qkv.bias:v
    blocks.{i}.attn.inner_attn_ln   blocks.{i}.attention.norm
    blocks.{i}.attn.proj            blocks.{i}.attention.out
    blocks.{i}.norm2                blocks.{i}.norm2
    blocks.{i}.mlp.w12              blocks.{i}.mlp.fc1
    blocks.{i}.mlp.w1               blocks.{i}.mlp.fc1:gate
    blocks.{i}.mlp.w2               blocks.{i}.mlp.fc1:value
    blocks.{i}.mlp.ffn_ln           blocks.{i}.mlp.norm
    blocks.{i}.mlp.w3               blocks.{i}.mlp.fc2
    norm                            norm
    fc_norm                         pooled_norm
    head                            projector.heads.0
""")

FAMILY = Family(
    "eva02",
    {
        "original": Layout(
            NAMES,
            encoder=("visual.", ""),
            networks=("module", "model"),
            ignored=(
                *TEXT,
                Ignore("*rope.freqs_*", "cosines and sines of the rotary positions, from the grid"),
                Ignore("mask_token", "pretraining: stands for masked patches"),
                Ignore("lm_head.*", "pretraining: predicts CLIP's features"),
            ),
        ),
        "timm": TIMM,
    },
    fields={"rotary": "eva02", "activation": "silu", "gated_mlp": True},
    inferred=frozenset({"qkv_bias", "mlp_norm", "attention_norm", "final_norm", "pooled_norm"}),
    heads=HEADS | {1408: 16, 1792: 16},
    projectors=frozenset({"classifier"}),
)
"""Learned and rotary positions, gated MLPs; base and large norm inside the MLP, CLIP in attention."""

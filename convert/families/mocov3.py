"""MoCo v3 (facebookresearch/moco-v3, `vits.py`, `moco/builder.py`), with and without conv stem."""

from __future__ import annotations

from convert.families.layouts import TIMM, TRANSFORMERS
from convert.family import HEADS, Family, Ignore, Layout
from convert.names import Names

NAMES = Names("""
    cls_token                   prefix_tokens:cls
    pos_embed                   positions
    patch_embed.proj            stem.projection
    patch_embed.proj.12         stem.projection:conv
    patch_embed.proj.{3i}       stem.convolutions.{i}
    patch_embed.proj.{3i+1}     stem.norms.{i}
    blocks.{i}.norm1            blocks.{i}.norm1
    blocks.{i}.attn.qkv         blocks.{i}.attention.qkv
    blocks.{i}.attn.proj        blocks.{i}.attention.out
    blocks.{i}.norm2            blocks.{i}.norm2
    blocks.{i}.mlp.fc1          blocks.{i}.mlp.fc1
    blocks.{i}.mlp.fc2          blocks.{i}.mlp.fc2
    norm                        norm
    head.{3i}                   projector.mlp.layers.{i}
    head.{3i+1}                 projector.mlp.norms.{i}
    ../predictor.{3i}              predictor.mlp.layers.{i}
    ../predictor.{3i+1}            predictor.mlp.norms.{i}
""")

FAMILY = Family(
    "mocov3",
    {
        "original": Layout(
            NAMES,
            encoder=("base_encoder.",),
            networks=("state_dict",),
            ignored=(
                Ignore("../momentum_encoder.*", "moving average of the encoder, for training"),
            ),
        ),
        "timm": TIMM,
        "transformers": TRANSFORMERS,
    },
    fields={"positions": "sincos", "position_resize": "sincos_wh"},
    inferred=frozenset({"stem"}),
    heads=HEADS | {384: 12},
    projectors=frozenset({"mlp_bn"}),
)

"""AIMv2 (apple/ml-aim, `aim-v2/aim/v2/torch`) at fixed sizes."""

from __future__ import annotations

import dataclasses

from convert.families.clip import POSITION_IDS
from convert.families.layouts import GATED_NAMES, TIMM
from convert.family import Family, Ignore, Layout
from convert.names import Names

NAMES = Names(
    """
    preprocessor.pos_embed                  positions
    preprocessor.patchifier.proj            stem.projection
    preprocessor.patchifier.norm            stem_norm
    trunk.blocks.{i}.norm_1                 blocks.{i}.norm1
    trunk.blocks.{i}.attn.qkv               blocks.{i}.attention.qkv
    trunk.blocks.{i}.attn.proj              blocks.{i}.attention.out
    trunk.blocks.{i}.norm_2                 blocks.{i}.norm2
    trunk.blocks.{i}.mlp.fc1                blocks.{i}.mlp.fc1:gate
    trunk.blocks.{i}.mlp.fc3                blocks.{i}.mlp.fc1:value
    trunk.blocks.{i}.mlp.fc2                blocks.{i}.mlp.fc2
    trunk.post_trunk_norm                   norm
    """,
    before=((r"(?<=\.)norm([12])(?=\.)", r"norm_\1"),),
)
TRANSFORMERS_NAMES = Names("""
    embeddings.position_embedding.weight    positions
    embeddings.patch_embed                  stem.projection
    embeddings.rms_norm                     stem_norm
    encoder.layers.{i}.rms_norm1            blocks.{i}.norm1
    encoder.layers.{i}.attention.q_proj     blocks.{i}.attention.qkv:q
    encoder.layers.{i}.attention.k_proj     blocks.{i}.attention.qkv:k
    encoder.layers.{i}.attention.v_proj     blocks.{i}.attention.qkv:v
    encoder.layers.{i}.attention.out_proj   blocks.{i}.attention.out
    encoder.layers.{i}.rms_norm2            blocks.{i}.norm2
    encoder.layers.{i}.ffn.gate_proj        blocks.{i}.mlp.fc1:gate
    encoder.layers.{i}.ffn.up_proj          blocks.{i}.mlp.fc1:value
    encoder.layers.{i}.ffn.down_proj        blocks.{i}.mlp.fc2
    rms_norm                                norm
""")
_UNUSED = (
    Ignore("head.*", "pools for the text (LiT)"),
    POSITION_IDS,
    *(
        Ignore(f"../{pattern}", "text encoder or its projections (LiT)")
        for pattern in ("text_*", "image_projector.*", "visual_projection.*", "log*_scale")
    ),
)

FAMILY = Family(
    "aimv2",
    {
        "original": Layout(NAMES, encoder=("image_encoder.", ""), ignored=_UNUSED),
        "timm": dataclasses.replace(TIMM, names=GATED_NAMES + TIMM.names),
        "transformers": Layout(TRANSFORMERS_NAMES, encoder=("vision_model.", ""), ignored=_UNUSED),
    },
    fields={
        "position_resize": "bicubic_antialias",
        "qkv_bias": "none",
        "biases": False,
        "stem_norm": True,
        "norm": "rms",
        "norm_epsilon": 1e-5,
        "activation": "silu",
        "gated_mlp": True,
    },
    tokens=(),
    heads={768: 6, 1024: 8, 1536: 12, 2048: 16, 3072: 24},
)
"""RMSNorm, SwiGLU, no biases beyond the patch embedding's, no prefix tokens.

The original does not define positions at other sizes; timm's rule is used.
"""

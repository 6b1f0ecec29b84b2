"""AIMv2 (apple/ml-aim, `aim-v2/aim/v2/torch`) at fixed sizes."""

from __future__ import annotations

from convert.families.base import (
    Arrays,
    Family,
    Layout,
    Options,
    plain_rules,
    read_positions,
    read_vit,
)
from convert.families.layouts import TIMM
from convert.rules import Ignore
from jaxpart.encoders.architecture import ViTConfig

_HEADS = {768: 6, 1024: 8, 1536: 12, 2048: 16, 3072: 24}
_ORIGINAL_NAMES = (
    (r"^(?:image_encoder\.)?preprocessor\.patchifier\.", "patch_embed."),
    (r"^(?:image_encoder\.)?preprocessor\.pos_embed$", "pos_embed"),
    (r"^(?:image_encoder\.)?trunk\.post_trunk_norm\.", "norm."),
    (r"^(?:image_encoder\.)?trunk\.blocks\.", "blocks."),
    (r"^image_encoder\.head\.", "head."),
    (r"\.norm_([12])\.", r".norm\1."),
    (r"^(blocks\.\d+\.mlp)\.fc1\.", r"\1.fc1_g."),
    (r"^(blocks\.\d+\.mlp)\.fc3\.", r"\1.fc1_x."),
)
_TRANSFORMERS_NAMES = (
    (r"^vision_model\.", ""),
    (r"^embeddings\.patch_embed\.", "patch_embed.proj."),
    (r"^embeddings\.rms_norm\.", "patch_embed.norm."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^rms_norm\.", "norm."),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.rms_norm([12])\.", r".norm\1."),
    (r"\.attention\.([qkv]_proj)\.", r".attn.\1."),
    (r"\.attention\.out_proj\.", ".attn.proj."),
    (r"\.ffn\.gate_proj\.", ".mlp.fc1_g."),
    (r"\.ffn\.up_proj\.", ".mlp.fc1_x."),
    (r"\.ffn\.down_proj\.", ".mlp.fc2."),
)


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """RMSNorm, SwiGLU, no biases beyond the patch embedding's, no prefix tokens.

    Of positions at other sizes the original says nothing: timm's rule.
    """
    fields = read_vit(arrays, options, heads=_HEADS) | {
        "position_resize": "bicubic_antialias",
        "biases": False,
        "stem_norm": True,
        "norm": "rms",
        "norm_epsilon": 1e-5,
        "activation": "silu",
        "gated_mlp": True,
    }
    return ViTConfig(**read_positions(arrays, fields, options))


_UNUSED = (
    Ignore("head.*", "pools for the text (LiT)"),
    Ignore("*embeddings.position_ids", "0, 1, 2…"),
    *(
        Ignore(pattern, "text encoder or its projections (LiT)")
        for pattern in ("text_*", "image_projector.*", "visual_projection.*", "log*_scale")
    ),
)

FAMILY = Family(
    "aimv2",
    {
        "original": Layout(ignored=_UNUSED, renames=_ORIGINAL_NAMES),
        "timm": TIMM,
        "transformers": Layout(ignored=_UNUSED, renames=_TRANSFORMERS_NAMES),
    },
    architecture,
    plain_rules,
    sign="pos_embed",
)

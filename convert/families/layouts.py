"""The names that timm and Hugging Face transformers give to the parts of every ViT."""

from __future__ import annotations

from convert.families.base import Layout
from convert.rules import Ignore

TIMM_NAMES = (
    (r"\.ls([12])\.gamma$", r".gamma_\1"),
    (r"^reg_token$", "register_tokens"),
)
"""timm's names where they are not those of the original code, which mostly began as timm's."""

TRANSFORMERS_NAMES = (
    (r"^(?:vit|deit|beit|dinov2|dinov2_with_registers|data2vec_vision|ijepa)\.", ""),
    (r"^embeddings\.(\w+_tokens?)$", r"\1"),
    (r"^distillation_token$", "dist_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^(?:encoder\.relative_position_bias|shared_position_bias)\.", "rel_pos_bias."),
    (r"^(?:encoder\.)?layers?\.(\d+)\.", r"blocks.\1."),
    (r"^(blocks\.\d+)\.(?:attention\.attention\.)?relative_position_bias\.", r"\1.attn."),
    (r"\.attention\.attention\.([qkv])(?:uery|ey|alue)\.", r".attn.\1_proj."),
    (r"\.attention\.([qkv]_proj)\.", r".attn.\1."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.lambda_([12])$", r".gamma_\1"),
    (r"\.layer_scale([12])\.lambda1$", r".gamma_\1"),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.gate_proj\.", ".mlp.fc1_g."),
    (r"\.mlp\.up_proj\.", ".mlp.fc1_x."),
    (r"\.mlp\.(?:weights_out|down_proj)\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
    (r"^pooler\.layernorm\.", "fc_norm."),
    (r"^(?:cls_)?classifier\.", "head."),
    (r"^distillation_classifier\.", "head_dist."),
)
"""transformers' names, as its files hold them and as its models of version 5 name them in memory."""

TIMM = Layout(renames=TIMM_NAMES, fields={"position_resize": "bicubic_antialias"})
"""timm interpolates positions by a rule of its own, whatever the family's is."""

TRANSFORMERS = Layout(
    renames=TRANSFORMERS_NAMES,
    fields={"position_resize": "bicubic"},
    ignored=(
        Ignore("pooler.dense.*", "transformers' pooler, which the release did not have"),
        Ignore("mask_token", "pretraining: stands for masked patches"),
    ),
)
"""So does transformers."""

"""The names that timm and Hugging Face transformers give to the parts of every ViT."""

from __future__ import annotations

from convert.family import Ignore, Layout
from convert.names import Names

TIMM_NAMES = Names("""
    cls_token                       prefix_tokens:cls
    dist_token                      prefix_tokens:dist
    reg_token                       prefix_tokens:registers
    pos_embed                       positions
    patch_embed.proj                stem.projection
    patch_embed.norm                stem_norm
    norm_pre                        pre_norm
    blocks.{i}.norm1                blocks.{i}.norm1
    blocks.{i}.attn.qkv             blocks.{i}.attention.qkv
    blocks.{i}.attn.q_proj          blocks.{i}.attention.qkv:q
    blocks.{i}.attn.k_proj          blocks.{i}.attention.qkv:k
    blocks.{i}.attn.v_proj          blocks.{i}.attention.qkv:v
    blocks.{i}.attn.q_bias          blocks.{i}.attention.qkv.bias:q
    blocks.{i}.attn.v_bias          blocks.{i}.attention.qkv.bias:v
    blocks.{i}.attn.norm            blocks.{i}.attention.norm
    blocks.{i}.attn.proj            blocks.{i}.attention.out
    blocks.{i}.ls1.gamma            blocks.{i}.scale1
    blocks.{i}.gamma_1              blocks.{i}.scale1
    blocks.{i}.norm2                blocks.{i}.norm2
    blocks.{i}.mlp.fc1              blocks.{i}.mlp.fc1
    blocks.{i}.mlp.fc1_g            blocks.{i}.mlp.fc1:gate
    blocks.{i}.mlp.fc1_x            blocks.{i}.mlp.fc1:value
    blocks.{i}.mlp.norm             blocks.{i}.mlp.norm
    blocks.{i}.mlp.fc2              blocks.{i}.mlp.fc2
    blocks.{i}.ls2.gamma            blocks.{i}.scale2
    blocks.{i}.gamma_2              blocks.{i}.scale2
    norm                            norm
    fc_norm                         pooled_norm
    head                            projector.heads.0
    head_dist                       projector.heads.1
""")
"""timm's names for the parts of most ViTs."""

BIAS_TABLE_NAMES = """
    blocks.{i}.gamma_1                                  blocks.{i}.scale1
    blocks.{i}.gamma_2                                  blocks.{i}.scale2
    rel_pos_bias.relative_position_bias_table           relative_bias.table
    blocks.{i}.attn.relative_position_bias_table        blocks.{i}.relative_bias.table
"""
"""timm's names for BEiT's additional parts."""

GATED_NAMES = """
    blocks.{i}.mlp.fc1_g            blocks.{i}.mlp.fc1:gate
    blocks.{i}.mlp.fc1_x            blocks.{i}.mlp.fc1:value
"""
"""Gate and value in two matrices, as timm stores some of its gated MLPs."""

LAMBDA_NAMES = """
    encoder.layer.{i}.lambda_1      blocks.{i}.scale1
    encoder.layer.{i}.lambda_2      blocks.{i}.scale2
"""
"""transformers' names for BEiT's layer scale."""

TRANSFORMERS_NAMES = Names(
    """
    embeddings.cls_token                                prefix_tokens:cls
    embeddings.distillation_token                       prefix_tokens:dist
    embeddings.register_tokens                          prefix_tokens:registers
    embeddings.position_embeddings                      positions
    embeddings.patch_embeddings.projection              stem.projection
    encoder.layer.{i}.layernorm_before                  blocks.{i}.norm1
    encoder.layer.{i}.attention.attention.query         blocks.{i}.attention.qkv:q
    encoder.layer.{i}.attention.attention.key           blocks.{i}.attention.qkv:k
    encoder.layer.{i}.attention.attention.value         blocks.{i}.attention.qkv:v
    encoder.layer.{i}.attention.output.dense            blocks.{i}.attention.out
    encoder.layer.{i}.layer_scale1.lambda1              blocks.{i}.scale1
    encoder.layer.{i}.lambda_1                          blocks.{i}.scale1
    encoder.layer.{i}.layernorm_after                   blocks.{i}.norm2
    encoder.layer.{i}.intermediate.dense                blocks.{i}.mlp.fc1
    encoder.layer.{i}.output.dense                      blocks.{i}.mlp.fc2
    encoder.layer.{i}.layer_scale2.lambda1              blocks.{i}.scale2
    encoder.layer.{i}.lambda_2                          blocks.{i}.scale2
    layernorm                                           norm
    ../layernorm                                        norm
    pooler.layernorm                                    pooled_norm
    ../classifier                                          projector.heads.0
    ../cls_classifier                                      projector.heads.0
    ../distillation_classifier                             projector.heads.1

    encoder.layer.{i}.norm1                             blocks.{i}.norm1
    encoder.layer.{i}.attention.q_proj                  blocks.{i}.attention.qkv:q
    encoder.layer.{i}.attention.k_proj                  blocks.{i}.attention.qkv:k
    encoder.layer.{i}.attention.v_proj                  blocks.{i}.attention.qkv:v
    encoder.layer.{i}.attention.o_proj                  blocks.{i}.attention.out
    encoder.layer.{i}.norm2                             blocks.{i}.norm2
    encoder.layer.{i}.mlp.fc1                           blocks.{i}.mlp.fc1
    encoder.layer.{i}.mlp.fc2                           blocks.{i}.mlp.fc2
    """,
    before=((r"^(?:encoder\.)?layers?\.(\d+)\.", r"encoder.layer.\1."),),
)
"""transformers' names in its files and, after the empty line, those of its version 5 in memory."""

_MODELS = "vit deit beit dinov2 dinov2_with_registers dinov3_vit data2vec_vision ijepa model"
TRANSFORMERS_PREFIXES = (*(f"{name}." for name in _MODELS.split()), "")
"""Prefixes of the encoder in models with a head."""

MASK_TOKEN = Ignore("*mask_token", "pretraining: stands for masked patches")

TIMM = Layout(TIMM_NAMES, fields={"position_resize": "bicubic_antialias"})
"""timm interpolates positions by its own rule for every family."""

TRANSFORMERS = Layout(
    TRANSFORMERS_NAMES,
    encoder=TRANSFORMERS_PREFIXES,
    fields={"position_resize": "bicubic"},
    ignored=(
        Ignore("pooler.dense.*", "transformers' pooler, which the release did not have"),
        Ignore("../decoder.0.*", "pretraining: predicts the pixels of masked patches"),
        *(
            Ignore(f"../{head}.*", "of a segmentation, on top of the blocks")
            for head in ("decode_head", "auxiliary_head", "fpn*")
        ),
        MASK_TOKEN,
    ),
)
"""transformers also interpolates positions by its own rule for every family."""

"""CLIP's image encoder (openai/CLIP, `clip/model.py`) and what was trained with the same code.

OpenAI's own release is a TorchScript program: save its `state_dict()` first. MetaCLIP and DFN share its
quick GELU; what OpenCLIP trains has the exact one, which no array tells: see `openclip`.
"""

from __future__ import annotations

from convert.families.base import (
    HEADS,
    Arrays,
    Family,
    Layout,
    Options,
    classifier,
    classifier_rules,
    read_positions,
    read_vit,
    same,
    shape,
    vit_rules,
)
from convert.families.layouts import TIMM
from convert.rules import Ignore, Rule
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.layers import Activation
from jaxpart.encoders.projectors import ProjectorConfig

_HEADS = HEADS | {256: 4, 512: 8, 640: 10, 896: 14, 1408: 16, 1664: 16}
TEXT = tuple(
    Ignore(pattern, "text encoder")
    for pattern in (
        *("transformer.*", "token_embedding.*", "positional_embedding", "ln_final.*"),
        *("text_projection", "text_projection.*", "text.*", "text_model.*", "attn_mask"),
    )
) + tuple(
    Ignore(pattern, "of the contrastive loss, or the shape of the inputs")
    for pattern in ("logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size")
)
"""What a file holds beside its image encoder."""

_ORIGINAL_NAMES = (
    (r"^visual\.class_embedding$", "cls_token"),
    (r"^visual\.positional_embedding$", "pos_embed"),
    (r"^visual\.conv1\.", "patch_embed.proj."),
    (r"^visual\.ln_pre\.", "norm_pre."),
    (r"^visual\.ln_post\.", "norm."),
    (r"^visual\.proj$", "projection"),
    (r"^visual\.transformer\.resblocks\.(\d+)\.ln_([12])\.", r"blocks.\1.norm\2."),
    (r"^visual\.transformer\.resblocks\.(\d+)\.attn\.in_proj_", r"blocks.\1.attn.qkv."),
    (r"^visual\.transformer\.resblocks\.(\d+)\.attn\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"^visual\.transformer\.resblocks\.(\d+)\.mlp\.c_fc\.", r"blocks.\1.mlp.fc1."),
    (r"^visual\.transformer\.resblocks\.(\d+)\.mlp\.c_proj\.", r"blocks.\1.mlp.fc2."),
)
TOWER_NAMES = (
    (r"^vision_model\.", ""),
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
    (r"^visual_projection\.", "head."),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.([qkv]_proj)\.", r".attn.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
)
"""transformers' names of CLIP's and SigLIP's image encoders."""

TOWER_UNUSED = (*TEXT, Ignore("*embeddings.position_ids", "0, 1, 2…"))


def family(name: str, activation: Activation) -> Family:
    """CLIP with its activation, which no array tells."""

    def read(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
        head = classifier(arrays)
        if "projection" in arrays:
            head = ProjectorConfig("classifier", out=shape(arrays, "projection")[1], bias=False)
        fields = read_vit(arrays, options, heads=_HEADS) | {
            "activation": activation,
            "pre_norm": True,
            "stem_bias": False,
            "norm_epsilon": 1e-5,
        }
        return ViTConfig(**read_positions(arrays, fields, options), projector=head)

    return Family(
        name,
        {
            "original": Layout(ignored=TEXT, renames=_ORIGINAL_NAMES),
            "timm": TIMM,
            "transformers": Layout(
                ignored=TOWER_UNUSED,
                renames=TOWER_NAMES,
                fields={"position_resize": "bicubic"},
            ),
        },
        read,
        rules,
    )


def rules(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """The projection has no bias, and lies the other way round in the original."""
    table = vit_rules(config) + classifier_rules(config)
    if config.projector is not None and not config.projector.bias:
        table.append(Rule(("projection",), "projector.heads.0.kernel", same))
    return table, []


FAMILY = family("clip", "quick_gelu")

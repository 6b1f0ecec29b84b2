"""CLIP's image encoder (openai/CLIP, `clip/model.py`) and models trained with the same code.

OpenAI's own release is a TorchScript program: save its `state_dict()` first. MetaCLIP and DFN share its
quick GELU; OpenCLIP's models use the exact one, which no array shows: see `openclip`.
"""

from __future__ import annotations

from convert.families.layouts import TIMM
from convert.family import HEADS, Family, Ignore, Layout
from convert.names import Names

NAMES = Names("""
    class_embedding                         prefix_tokens:cls
    positional_embedding                    positions
    conv1                                   stem.projection
    ln_pre                                  pre_norm
    transformer.resblocks.{i}.ln_1          blocks.{i}.norm1
    transformer.resblocks.{i}.attn.in_proj_weight   blocks.{i}.attention.qkv.weight
    transformer.resblocks.{i}.attn.in_proj_bias     blocks.{i}.attention.qkv.bias
    transformer.resblocks.{i}.attn.out_proj         blocks.{i}.attention.out
    transformer.resblocks.{i}.ln_2          blocks.{i}.norm2
    transformer.resblocks.{i}.mlp.c_fc      blocks.{i}.mlp.fc1
    transformer.resblocks.{i}.mlp.c_proj    blocks.{i}.mlp.fc2
    ln_post                                 norm
    proj                                    projector.heads.0.weight:transposed
""")
TOWER_NAMES = Names("""
    embeddings.class_embedding              prefix_tokens:cls
    embeddings.position_embedding.weight    positions
    embeddings.patch_embedding              stem.projection
    pre_layrnorm                            pre_norm
    encoder.layers.{i}.layer_norm1          blocks.{i}.norm1
    encoder.layers.{i}.self_attn.q_proj     blocks.{i}.attention.qkv:q
    encoder.layers.{i}.self_attn.k_proj     blocks.{i}.attention.qkv:k
    encoder.layers.{i}.self_attn.v_proj     blocks.{i}.attention.qkv:v
    encoder.layers.{i}.self_attn.out_proj   blocks.{i}.attention.out
    encoder.layers.{i}.layer_norm2          blocks.{i}.norm2
    encoder.layers.{i}.mlp.fc1              blocks.{i}.mlp.fc1
    encoder.layers.{i}.mlp.fc2              blocks.{i}.mlp.fc2
    post_layernorm                          norm
    ../visual_projection                       projector.heads.0
""")
"""transformers' names of CLIP's and SigLIP's image encoders."""

_LOSS = "of the contrastive loss, or the shape of the inputs"
TEXT = (
    *(
        Ignore(f"../{pattern}", "text encoder")
        for pattern in (
            *("transformer.*", "token_embedding.*", "positional_embedding", "ln_final.*"),
            *("text_projection*", "text.*", "text_model.*", "attn_mask"),
        )
    ),
    *(
        Ignore(f"../{pattern}", _LOSS)
        for pattern in ("logit_*", "input_resolution", "context_length", "vocab_size")
    ),
)
"""Keys of everything but the image encoder."""

POSITION_IDS = Ignore("*position_ids", "0, 1, 2…")

FAMILY = Family(
    "clip",
    {
        "original": Layout(NAMES, encoder=("visual.", ""), ignored=TEXT),
        "timm": TIMM,
        "transformers": Layout(
            TOWER_NAMES,
            encoder=("vision_model.", ""),
            ignored=(*TEXT, POSITION_IDS),
            fields={"position_resize": "bicubic"},
        ),
    },
    fields={
        "activation": "quick_gelu",
        "pre_norm": True,
        "stem_bias": False,
        "norm_epsilon": 1e-5,
    },
    heads=HEADS | {256: 4, 512: 8, 640: 10, 896: 14, 1408: 16, 1664: 16},
    projectors=frozenset({"classifier"}),
)

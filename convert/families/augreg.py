"""The original JAX ViT (google-research/vision_transformer, `models_vit.py`), its .npz files, and AugReg.

timm and transformers compute it with the exact GELU; the original has the one by tanh.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from convert.families.base import (
    Arrays,
    Family,
    Layout,
    Options,
    classifier,
    plain_rules,
    read_positions,
    read_vit,
)
from convert.families.layouts import TIMM, TRANSFORMERS
from convert.rules import Ignore
from jaxpart.encoders.architecture import ViTConfig

JAX_NAMES = (
    (r"/", "."),
    (r"^(?:opt\.target|params\.img|params)\.(?!txt)", ""),
    (r"\.(?:kernel|scale)$", ".weight"),
    (r"^cls$", "cls_token"),
    (r"^(?:Transformer\.posembed_input\.)?pos_embedding$", "pos_embed"),
    (r"^embedding\.", "patch_embed.proj."),
    (r"^Transformer\.encoder_norm\.", "norm."),
    (r"^Transformer\.encoderblock_(\d+)\.", r"blocks.\1."),
    (r"^MAPHead_0\.", "attn_pool."),
    (r"^attn_pool\.probe$", "attn_pool.latent"),
    (r"^attn_pool\.LayerNorm_0\.", "attn_pool.norm."),
    (r"^attn_pool\.MultiHeadDotProductAttention_0\.", "attn_pool."),
    (r"\.MultiHeadDotProductAttention_[01]\.", ".attn."),
    (r"\.([qkv])(?:uery|ey|alue)\.(weight|bias)$", r".\1_proj.\2"),
    (r"\.out\.(weight|bias)$", r".proj.\1"),
    (r"\.LayerNorm_0\.", ".norm1."),
    (r"\.LayerNorm_[12]\.", ".norm2."),
    (r"\.MlpBlock_[03]\.Dense_0\.", ".mlp.fc1."),
    (r"\.MlpBlock_[03]\.Dense_1\.", ".mlp.fc2."),
)
"""Names of Flax modules, as vision_transformer and big_vision save them."""


def as_torch(name: str, value: Any) -> Any:
    """A Flax array as PyTorch would hold it: outputs first, heads as one axis."""
    if name == "patch_embed.proj.weight" and value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    if name.endswith("_proj.bias"):
        return value.reshape(-1)
    if name.endswith("_proj.weight") and value.ndim == 3:  # [width, head, channel]
        return value.reshape(value.shape[0], -1).T
    if name.endswith(".proj.weight") and value.ndim == 3:  # [head, channel, width]
        return value.reshape(-1, value.shape[-1]).T
    if name.endswith(".weight") and value.ndim == 2:
        return value.T
    return value


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """GELU by tanh. The releases of 2020 have a layer more before their classifier: both are left out."""
    fields = read_vit(arrays, options) | {"activation": "gelu_tanh"}
    head = None if "pre_logits.weight" in arrays else classifier(arrays)
    return ViTConfig(**read_positions(arrays, fields, options), projector=head)


FAMILY = Family(
    "augreg",
    {
        "original": Layout(
            renames=JAX_NAMES,
            reorient=as_torch,
            ignored=(
                Ignore("pre_logits.*", "layer before the classifier (2020)"),
                Ignore("head.*", "classifier behind a layer that is left out (2020)"),
            ),
        ),
        "timm": dataclasses.replace(TIMM, fields={**TIMM.fields, "activation": "gelu"}),
        "transformers": dataclasses.replace(
            TRANSFORMERS, fields={**TRANSFORMERS.fields, "activation": "gelu"}
        ),
    },
    architecture,
    plain_rules,
)

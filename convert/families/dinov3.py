"""DINOv3's ViTs (facebookresearch/dinov3, `models/vision_transformer.py`)."""

from __future__ import annotations

import dataclasses

import ml_dtypes
import numpy as np

from convert.families.base import (
    HEADS,
    Arrays,
    Family,
    Layout,
    Options,
    layer,
    read_vit,
    vit_rules,
)
from convert.families.layouts import TIMM, TIMM_NAMES, TRANSFORMERS
from convert.rules import Ignore, Rule
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.rotary import RotaryRule, dinov3_periods
from jaxpart.errors import JaxpartError

_HEADS = HEADS | {1280: 20, 4096: 32}
_NAMES = (
    *TIMM_NAMES,
    (r"^storage_tokens$", "register_tokens"),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)


def masked_bias(bias: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The biases that count: those of the key are masked out, whatever they hold."""
    return np.where(np.nan_to_num(mask.astype(np.float32)) == 0, 0, bias)


def _rotary(arrays: Arrays, channels: int) -> RotaryRule:
    """Which periods the checkpoint holds; computed in float32 where it holds none."""
    if "rope_embed.periods" not in arrays:
        return "dinov3"
    stored = np.asarray(arrays["rope_embed.periods"], np.float32)
    exact = dinov3_periods(channels)
    if stored.shape == exact.shape:
        if np.allclose(stored, exact, rtol=1e-6, atol=0):
            return "dinov3"
        if (stored == exact.astype(ml_dtypes.bfloat16).astype(np.float32)).all():
            return "dinov3_bfloat16"
    raise JaxpartError(
        f"rope_embed.periods are not those of DINOv3's releases (base 100, {channels} channels a "
        f"head); pass the right --num-heads"
    )


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """Rotary positions alone, so the image size is free; some sizes have gated MLPs."""
    fields = read_vit(arrays, options, heads=_HEADS) | {"layer_scale": True}
    gated = "blocks.0.mlp.fc1_g.weight" in arrays
    side = fields["patch_size"]
    return ViTConfig(
        **fields,
        image_size=(224 // side * side, 224 // side * side),
        positions="none",
        rotary=_rotary(arrays, fields["width"] // fields["num_heads"]),
        norm_epsilon=1e-5,
        gated_mlp=gated,
        activation="silu" if gated else "gelu",
    )


def rules(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """The original masks the key's bias; transformers names the first layer as if it were gated."""
    table = vit_rules(config)
    if not config.gated_mlp:
        table += layer("blocks.{i}.mlp.fc1_x", "blocks.{i}.mlp.fc1")
    if config.qkv_bias == "qkv":
        bias = "blocks.{i}.attn.qkv.bias"
        target = "blocks.{i}.attention.qkv.bias"
        table = [rule for rule in table if rule.target != target]
        table.append(Rule((bias, f"{bias}_mask"), target, masked_bias))
    return table, []


_UNUSED = (
    Ignore("mask_token", "pretraining: stands for masked patches"),
    Ignore("rope_embed.periods", "periods of the rotary positions, which are computed"),
    Ignore("local_cls_norm.*", "pretraining: norm of local crops"),
    Ignore("cls_norm.*", "pretraining: norm of the cls token apart from the patches'"),
)

FAMILY = Family(
    "dinov3",
    {
        "original": Layout(ignored=_UNUSED, renames=_NAMES),
        "timm": dataclasses.replace(TIMM, fields={}),
        "transformers": dataclasses.replace(
            TRANSFORMERS,
            renames=(
                (r"^model\.", ""),
                (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
                *TRANSFORMERS.renames,
            ),
            ignored=(*_UNUSED, Ignore("register_tokens", "empty: a model without registers")),
            fields={},
        ),
    },
    architecture,
    rules,
)

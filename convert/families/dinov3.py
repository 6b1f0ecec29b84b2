"""DINOv3's ViTs (facebookresearch/dinov3, `models/vision_transformer.py`)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from convert.families.layouts import GATED_NAMES, MASK_TOKEN, TIMM, TRANSFORMERS
from convert.family import HEADS, Arrays, Family, Ignore, Layout
from convert.names import Names
from convert.options import Options
from jaxpart.encoders.rotary import RotaryRule, dinov3_periods
from jaxpart.errors import JaxpartError

NAMES = Names("""
    cls_token                       prefix_tokens:cls
    storage_tokens                  prefix_tokens:registers
    patch_embed.proj                stem.projection
    rope_embed.periods              rotary_periods
    blocks.{i}.norm1                blocks.{i}.norm1
    blocks.{i}.attn.qkv             blocks.{i}.attention.qkv
    blocks.{i}.attn.qkv.bias_mask   blocks.{i}.attention.qkv.bias:mask
    blocks.{i}.attn.proj            blocks.{i}.attention.out
    blocks.{i}.ls1.gamma            blocks.{i}.scale1
    blocks.{i}.norm2                blocks.{i}.norm2
    blocks.{i}.mlp.fc1              blocks.{i}.mlp.fc1
    blocks.{i}.mlp.fc2              blocks.{i}.mlp.fc2
    blocks.{i}.mlp.w1               blocks.{i}.mlp.fc1:gate
    blocks.{i}.mlp.w2               blocks.{i}.mlp.fc1:value
    blocks.{i}.mlp.w3               blocks.{i}.mlp.fc2
    blocks.{i}.ls2.gamma            blocks.{i}.scale2
    norm                            norm
""")
TRANSFORMERS_NAMES = """
    embeddings.patch_embeddings             stem.projection
    norm                                    norm
    layer.{i}.norm1                         blocks.{i}.norm1
    layer.{i}.attention.q_proj              blocks.{i}.attention.qkv:q
    layer.{i}.attention.k_proj              blocks.{i}.attention.qkv:k
    layer.{i}.attention.v_proj              blocks.{i}.attention.qkv:v
    layer.{i}.attention.o_proj              blocks.{i}.attention.out
    layer.{i}.layer_scale1.lambda1          blocks.{i}.scale1
    layer.{i}.norm2                         blocks.{i}.norm2
    layer.{i}.mlp.up_proj                   blocks.{i}.mlp.fc1:value
    layer.{i}.mlp.gate_proj                 blocks.{i}.mlp.fc1:gate
    layer.{i}.mlp.down_proj                 blocks.{i}.mlp.fc2
    layer.{i}.layer_scale2.lambda1          blocks.{i}.scale2
""" + dataclasses.replace(
    TRANSFORMERS.names, before=((r"^(?:model\.|encoder\.)?layers?\.(\d+)\.", r"layer.\1."),)
)
TIMM_NAMES = (
    f"""
    blocks.{{i}}.gamma_1    blocks.{{i}}.scale1
    blocks.{{i}}.gamma_2    blocks.{{i}}.scale2
    {GATED_NAMES}
"""
    + TIMM.names
)
_UNUSED = (
    MASK_TOKEN,
    Ignore("rope_embed.*", "periods of the rotary positions, which are computed"),
    Ignore("local_cls_norm.*", "pretraining: norm of local crops"),
    Ignore("cls_norm.*", "pretraining: norm of the cls token apart from the patches'"),
)


def _rotary(arrays: Arrays, channels: int) -> RotaryRule:
    """The kind of periods that the checkpoint holds; float32 if it holds none."""
    if "rotary_periods" not in arrays:
        return "dinov3"
    stored = np.asarray(arrays["rotary_periods"], np.float32)
    exact = dinov3_periods(channels)
    if stored.shape == exact.shape:
        if np.allclose(stored, exact, rtol=1e-6, atol=0):
            return "dinov3"
        if (stored == dinov3_periods(channels, rounded=True)).all():
            return "dinov3_bfloat16"
    raise JaxpartError(
        f"rope_embed.periods are not those of DINOv3's releases (base 100, {channels} channels a "
        f"head); pass the right --num-heads"
    )


def adjust(arrays: Arrays, fields: dict[str, Any], options: Options) -> dict[str, Any]:
    """Rotary positions only, so the image size is free; some sizes have gated MLPs."""
    channels = fields["width"] // fields["num_heads"]
    activation = "silu" if fields["gated_mlp"] else "gelu"
    return fields | {"rotary": _rotary(arrays, channels), "activation": activation}


FAMILY = Family(
    "dinov3",
    {
        "original": Layout(NAMES, networks=("teacher", "student"), ignored=_UNUSED),
        "timm": dataclasses.replace(TIMM, names=TIMM_NAMES, fields={}),
        "transformers": dataclasses.replace(
            TRANSFORMERS,
            names=TRANSFORMERS_NAMES,
            ignored=(
                MASK_TOKEN,
                Ignore("embeddings.register_tokens", "empty: a model without registers"),
            ),
            fields={},
        ),
    },
    fields={"layer_scale": True, "positions": "none", "norm_epsilon": 1e-5},
    inferred=frozenset({"gated_mlp", "qkv_bias"}),
    optional_tokens=("registers",),
    heads=HEADS | {1280: 20, 4096: 32},
    adjust=adjust,
)

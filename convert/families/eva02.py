"""EVA-02 (baaivision/EVA, `EVA-02/asuka`) and its CLIP: pretraining, fine-tuned and CLIP checkpoints."""

from __future__ import annotations

from convert.families.base import (
    CONTAINER,
    HEADS,
    Arrays,
    Family,
    Layout,
    Options,
    Root,
    classifier,
    plain_rules,
    read_positions,
    read_vit,
)
from convert.families.clip import TEXT
from convert.families.layouts import TIMM
from convert.rules import Ignore
from jaxpart.encoders.architecture import ViTConfig

_NAMES = (
    (r"^visual\.", ""),
    (r"\.mlp\.ffn_ln\.", ".mlp.norm."),
    (r"\.attn\.inner_attn_ln\.", ".attn.norm."),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """Learned and rotary positions, gated MLPs; base and large norm inside the MLP, CLIP in attention."""
    fields = read_vit(arrays, options, heads=HEADS | {1408: 16, 1792: 16}) | {
        "rotary": "eva02",
        "activation": "silu",
        "gated_mlp": True,
        "mlp_norm": "blocks.0.mlp.norm.weight" in arrays,
        "attention_norm": "blocks.0.attn.norm.weight" in arrays,
        "final_norm": "norm.weight" in arrays,
        "pooled_norm": "fc_norm.weight" in arrays,
    }
    return ViTConfig(**read_positions(arrays, fields, options), projector=classifier(arrays))


_UNUSED = (
    Ignore(
        "*rope.freqs_*", "cosines and sines of the rotary positions, which follow from the grid"
    ),
    Ignore("mask_token", "pretraining: stands for masked patches"),
    Ignore("lm_head.*", "pretraining: predicts CLIP's features"),
)

FAMILY = Family(
    "eva02",
    {
        "original": Layout(
            (Root("module"), Root("model"), Root("")), (*CONTAINER, *TEXT, *_UNUSED), _NAMES
        ),
        "timm": TIMM,
    },
    architecture,
    plain_rules,
)

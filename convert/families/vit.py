"""Any other plain ViT under timm's or transformers' names: the user states what its arrays do not show."""

from __future__ import annotations

from typing import Any

from convert.families import beit, siglip
from convert.families.layouts import MASK_TOKEN, TIMM, TRANSFORMERS
from convert.family import Arrays, Family, Layout
from convert.options import Options
from jaxpart.errors import JaxpartError

NAMES = (
    siglip.TIMM_NAMES
    + """
    register_tokens                 prefix_tokens:registers
    storage_tokens                  prefix_tokens:registers
"""
)


def adjust(arrays: Arrays, fields: dict[str, Any], options: Options) -> dict[str, Any]:
    """A gated MLP is assumed to be SwiGLU."""
    if "positions" not in arrays:
        raise JaxpartError(
            "it stores no positions; rotary ones leave no trace in the arrays, and are computed for "
            "dinov3 and eva02 alone"
        )
    return fields | ({"activation": "silu"} if fields["gated_mlp"] else {})


_TIMM = Layout(NAMES, ignored=(MASK_TOKEN, beit.INDEX), fields=TIMM.fields)

FAMILY = Family(
    "vit",
    {"original": _TIMM, "timm": _TIMM, "transformers": TRANSFORMERS},
    inferred=frozenset(
        [
            "stem",
            "stem_bias",
            "stem_norm",
            "pre_norm",
            "layer_scale",
            "biases",
            "norm",
            "mlp_norm",
            "attention_norm",
            "final_norm",
            "pooled_norm",
            "gated_mlp",
            "qkv_bias",
            "relative_bias",
        ]
    ),
    tokens=(),
    optional_tokens=("cls", "dist", "registers"),
    heads={},
    projectors=frozenset({"classifier", "attention_pool"}),
    adjust=adjust,
)

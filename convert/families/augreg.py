"""The original JAX ViT (google-research/vision_transformer, `models_vit.py`), its .npz files, and AugReg.

timm and transformers use the exact GELU; the original uses tanh GELU.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from convert.families.layouts import TIMM, TRANSFORMERS
from convert.family import Arrays, Family, Ignore, Layout
from convert.names import Names
from convert.options import Options

NAMES = Names(
    """
    cls                                             prefix_tokens:cls
    pos_embedding                                   positions
    embedding                                       stem.projection
    Transformer.encoderblock.{i}.LayerNorm_0        blocks.{i}.norm1
    Transformer.encoderblock.{i}.attention.query    blocks.{i}.attention.qkv:q
    Transformer.encoderblock.{i}.attention.key      blocks.{i}.attention.qkv:k
    Transformer.encoderblock.{i}.attention.value    blocks.{i}.attention.qkv:v
    Transformer.encoderblock.{i}.attention.out      blocks.{i}.attention.out
    Transformer.encoderblock.{i}.LayerNorm_1        blocks.{i}.norm2
    Transformer.encoderblock.{i}.MlpBlock.Dense_0   blocks.{i}.mlp.fc1
    Transformer.encoderblock.{i}.MlpBlock.Dense_1   blocks.{i}.mlp.fc2
    Transformer.encoder_norm                        norm
    head                                            projector.heads.0
    """,
    before=(
        (r"/", "."),
        (r"^Transformer\.posembed_input\.", ""),
        (r"(?<=encoderblock)_(\d+)", r".\1"),
        (r"(?<=\.)MultiHeadDotProductAttention_[01](?=\.)", "attention"),
        (r"(?<=\.)MlpBlock_[03](?=\.)", "MlpBlock"),
        (r"(?<=\.)LayerNorm_2(?=\.)", "LayerNorm_1"),
    ),
    flax=True,
)
"""Names of Flax modules, as vision_transformer and big_vision save them; the numbers of modules vary."""


def adjust(arrays: Arrays, fields: dict[str, Any], options: Options) -> dict[str, Any]:
    """The releases of 2020 have an extra layer before the classifier; both are dropped."""
    return fields | ({"projector": None} if "pre_logits.weight" in arrays else {})


def _exact(layout: Layout) -> Layout:
    return dataclasses.replace(layout, fields={**layout.fields, "activation": "gelu"})


FAMILY = Family(
    "augreg",
    {
        "original": Layout(
            NAMES + "pre_logits pre_logits",
            ignored=(
                Ignore("pre_logits.*", "layer before the classifier (2020)"),
                Ignore("head.*", "classifier on top of a dropped layer (2020)"),
            ),
        ),
        "timm": _exact(TIMM),
        "transformers": _exact(TRANSFORMERS),
    },
    fields={"activation": "gelu_tanh"},
    projectors=frozenset({"classifier"}),
    adjust=adjust,
)

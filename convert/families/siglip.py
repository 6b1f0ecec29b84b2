"""SigLIP's image encoder (google-research/big_vision, `models/vit.py`).

Its GELU is the one by tanh; timm builds some of its variants with the exact one, which no array tells.
"""

from __future__ import annotations

from convert.families.augreg import JAX_NAMES, as_torch
from convert.families.base import (
    HEADS,
    Arrays,
    Family,
    Layout,
    Options,
    layer,
    norm,
    qkv_rules,
    read_positions,
    read_vit,
    shape,
    stacked,
    stacked_linear,
    tokens,
    vit_rules,
)
from convert.families.clip import TOWER_NAMES, TOWER_UNUSED
from convert.families.layouts import TIMM
from convert.rules import Ignore, Rule
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.projectors import ProjectorConfig

_HEADS = HEADS | {1152: 16, 1536: 16}
_NAMES = (
    *TOWER_NAMES,
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.in_proj_", "attn_pool.qkv."),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
)


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """No prefix tokens, GELU by tanh, and a head that pools by attention; gap variants lack it."""
    fields = read_vit(arrays, options, heads=_HEADS) | {"activation": "gelu_tanh"}
    head = None
    if "attn_pool.latent" in arrays:
        hidden, width = shape(arrays, "attn_pool.mlp.fc1.weight")
        head = ProjectorConfig(
            "attention_pool",
            out=width,
            hidden=(hidden,),
            num_heads=fields["num_heads"],
            activation="gelu_tanh",
        )
    return ViTConfig(**read_positions(arrays, fields, options), projector=head)


def rules(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """timm keeps the head's query apart from its key and value."""
    table = vit_rules(config)
    if config.projector is not None:
        source, target = "attn_pool", "projector.pool"
        table.append(Rule((f"{source}.latent",), f"{target}.probe", tokens))
        table += qkv_rules(source, target, "qkv")
        parts = f"{source}.q", f"{source}.kv"
        kernel, bias = (tuple(f"{part}.{kind}" for part in parts) for kind in ("weight", "bias"))
        table.append(Rule(kernel, f"{target}.qkv.kernel", stacked_linear))
        table.append(Rule(bias, f"{target}.qkv.bias", stacked))
        table += layer(f"{source}.proj", f"{target}.out")
        table += norm(f"{source}.norm", f"{target}.norm")
        table += layer(f"{source}.mlp.fc1", f"{target}.fc1")
        table += layer(f"{source}.mlp.fc2", f"{target}.fc2")
    return table, []


FAMILY = Family(
    "siglip",
    {
        "original": Layout(
            ignored=(
                Ignore("params.txt.*", "text encoder"),
                Ignore("t", "temperature of the contrastive loss"),
                Ignore("b", "bias of the contrastive loss"),
            ),
            renames=JAX_NAMES,
            reorient=as_torch,
        ),
        "timm": TIMM,
        "transformers": Layout(
            ignored=TOWER_UNUSED, renames=_NAMES, fields={"position_resize": "bicubic"}
        ),
    },
    architecture,
    rules,
    sign="pos_embed",
)

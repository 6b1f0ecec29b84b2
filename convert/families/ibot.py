"""iBOT (bytedance/ibot): DINO's encoder and head, with a second last layer for patches."""

from __future__ import annotations

from convert.families import dino
from convert.families.base import CONTAINER, Arrays, Family, Layout, Options, Root
from convert.families.layouts import TIMM, TRANSFORMERS
from convert.rules import Ignore
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.errors import JaxpartError


def architecture(arrays: Arrays, projector: Arrays, options: Options) -> ViTConfig:
    """As DINO, but a head without a layer for patches is not iBOT's."""
    config = dino.architecture(arrays, projector, options)
    if config.projector is not None and not config.projector.patch_out:
        raise JaxpartError("the array last_layer2.weight, iBOT's layer for patches, is missing")
    return config


FAMILY = Family(
    "ibot",
    {
        "original": Layout(
            (*dino.FULL, Root("state_dict")),
            (*CONTAINER, Ignore("ibot_loss.*", "centres of the loss")),
        ),
        "timm": TIMM,
        "transformers": TRANSFORMERS,
    },
    architecture,
    dino.rules,
)

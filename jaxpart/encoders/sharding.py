"""An encoder on the devices: whole on each, or its blocks' weights cut over the mesh's "model" axis.

The rule is Megatron's (Shoeybi et al., 2019): what comes into a branch is cut by its outputs (whole heads
of q, k and v; channels of the MLP), what leaves it by its inputs, so that a device works on its heads and
its channels alone and a block exchanges two sums: the outputs of its two branches.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np
from einops import rearrange
from flax import nnx

from jaxpart import devices
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.encoder import Encoder
from jaxpart.errors import JaxpartError

_CUT = (
    (r"attention\.qkv\.(kernel|bias)|mlp\.fc1\.(kernel|bias)|attention\.[qv]_bias", -1),
    (r"attention\.out\.kernel|mlp\.fc2\.kernel", 0),
)


def cut_axis(path: str) -> int | None:
    """The axis along which a parameter is cut, by its dotted path; None: it is whole everywhere."""
    for rule, axis in _CUT:
        if re.fullmatch(rf"blocks\.\d+\.({rule})", path):
            return axis
    return None


def put_on_devices(encoder: Encoder, model_devices: int = 1) -> Encoder:
    """An encoder on all devices.

    Args:
      encoder: With its weights anywhere; every process has the same.
      model_devices: Over how many devices each weight of its blocks is cut; 1: it is whole on each.
        The others hold copies, to which batches are dealt.

    Raises:
      JaxpartError: The heads, the channels or the devices cannot be shared evenly.
    """
    config = encoder.config
    for count, what in ((config.num_heads, "heads"), (config.mlp_width, "channels of its MLP")):
        if model_devices < 1 or count % model_devices:
            raise JaxpartError(
                f"an encoder with {count} {what} cannot be sharded over {model_devices} devices; "
                f"give a config.encoder.model_devices that divides them"
            )
    devices.arrange(model_devices)
    state = nnx.clone(encoder.state)
    for path, leaf in nnx.to_flat_state(state):
        name = ".".join(map(str, path))
        weight = by_group(np.asarray(leaf[...]), name, config, model_devices)
        leaf.set_value(devices.cut_over_model(weight, cut_axis(name)))
    return dataclasses.replace(encoder, state=state, groups=model_devices)


def by_group(weight: np.ndarray, path: str, config: ViTConfig, groups: int) -> np.ndarray:
    """A weight whose columns are laid out group by group: q, k and v (gate and value) of each together."""
    parts = 3 if ".qkv." in path else 2 if config.gated_mlp and ".fc1." in path else 1
    if parts == 1 or cut_axis(path) is None:
        return weight
    return rearrange(weight, "... (part g c) -> ... (g part c)", part=parts, g=groups)

"""An encoder on the devices: replicated, or its blocks' weights sharded over the mesh's "model" axis.

The rule is Megatron's (Shoeybi et al., 2019): the first layer of a branch is sharded by its outputs (heads
of q, k and v; channels of the MLP), the last one by its inputs, so that each device computes its own heads
and channels, and a block needs two all-reduces: the outputs of its two branches.
"""

from __future__ import annotations

import dataclasses
import re

import jax
import numpy as np

from jaxpart import devices
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.weights import arrays_of, with_arrays
from jaxpart.errors import JaxpartError

_SHARDED = (
    (r"attention\.qkv\.(kernel|bias)", -2),  # heads
    (r"mlp\.fc1\.(kernel|bias)|attention\.[qv]_bias", -1),
    (r"attention\.out\.kernel|mlp\.fc2\.kernel", 0),
)


def sharded_axis(path: str) -> int | None:
    """The axis along which a weight is sharded, by its dotted path; None: it is replicated."""
    for rule, axis in _SHARDED:
        if re.fullmatch(rf"blocks\.\d+\.({rule})", path):
            return axis
    return None


def put_on_devices(encoder: Encoder, model_devices: int = 1) -> Encoder:
    """An encoder on all devices.

    Args:
      encoder: Its weights may be anywhere; every process has the same.
      model_devices: Number of devices over which each weight of its blocks is sharded; 1: replicated.
        The remaining devices hold copies, over which batches are sharded.

    Raises:
      JaxpartError: The heads, the channels or the devices cannot be divided evenly.
    """
    config = encoder.config
    for count, what in ((config.num_heads, "heads"), (config.mlp_width, "channels of its MLP")):
        if model_devices < 1 or count % model_devices:
            raise JaxpartError(
                f"an encoder with {count} {what} cannot be sharded over {model_devices} devices; "
                f"give a config.encoder.model_devices that divides them"
            )
    devices.arrange(model_devices)

    def put(path: str, weight: np.ndarray) -> jax.Array:
        return devices.shard_over_model(weight, sharded_axis(path))

    vit = with_arrays(encoder.vit, arrays_of(encoder.vit), put)
    return dataclasses.replace(encoder, vit=vit)

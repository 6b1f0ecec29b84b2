"""Builds the encoder that a configuration names."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from jaxpart import devices
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.loading import load_encoder, random_encoder
from jaxpart.encoders.precision import check_precision
from jaxpart.encoders.sharding import put_on_devices
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError, printable
from jaxpart.io.files import path_of
from jaxpart.zoo import bundled_folder

_SIDE = 224
"""Side of the images for pixel baselines, when features come from a file."""


def encoder_folder(config: Any) -> pathlib.Path | None:
    """Folder of a configuration's encoder; None for random weights, a function or features.

    Raises:
      JaxpartError: The configuration needs a converted encoder but names none.
    """
    if config.encoder.callable or config.encoder.features:
        return None
    if config.encoder.checkpoint:
        return path_of(config.encoder.checkpoint)
    if config.encoder.small == "trained":
        return bundled_folder(config.method)
    if config.encoder.small == "random":
        return None
    raise JaxpartError(
        f"the encoder is missing: pass --config.encoder.checkpoint=FOLDER, made from the released "
        f"checkpoint by `python -m convert {config.method} CHECKPOINT FOLDER`"
    )


def permutation_seed(config: Any) -> int | None:
    """The seed for permuting each image's patches, see `View.permuted`; None: keep their order.

    The published code permutes patches against positions when it retrieves and classifies parts with MAE,
    but not in segmentation, nor does MAE's own linear probing.

    Raises:
      JaxpartError: The encoder is not MAE.
    """
    order = config.encoder.patch_order
    if order == "permuted" and config.method != "mae":
        raise JaxpartError(
            "config.encoder.patch_order='permuted' reproduces a quirk of the published code for "
            "MAE only, and "
            f"this configuration is for {config.method}; leave it at 'kept'"
        )
    return config.seed if order == "permuted" else None


def check_runnable(config: Any, *, allowed: bool) -> None:
    """Checks that a run's configuration, which may be a stranger's, names no code to run.

    Args:
      config: The configuration that the run's folder holds.
      allowed: Whether the user trusts it: --run-functions.

    Raises:
      JaxpartError: Its encoder is a function other than a model of timm or transformers.
    """
    text = config.encoder.callable
    if text and not allowed and not text.startswith(("timm:", "transformers:")):
        raise JaxpartError(
            f"its encoder is the function {printable(text)}, which is run only with --run-functions; "
            f"pass it if you trust that code"
        )


def configured_encoder(config: Any) -> FrozenEncoder:
    """The encoder of a configuration: a converted or small one, a function, or a file of features.

    It is placed on all devices, and the mesh is set up for it.

    Raises:
      JaxpartError: The encoder is missing, unreadable, or does not support the precision or the number of
        devices; or see `permutation_seed`.
    """
    permutation_seed(config)
    check_precision(config.encoder.precision)
    if config.encoder.features:
        from jaxpart.features.table import read_table

        return placed(read_table(config.encoder.features, side=config.encoder.image_size or _SIDE))
    if config.encoder.callable:
        from jaxpart.encoders.callables import named_encoder  # Not needed otherwise.

        if config.encoder.model_devices != 1:
            raise JaxpartError(
                "config.encoder.model_devices shards a converted ViT, not a callable; set it to 1"
            )
        return placed(named_encoder(config.encoder, seed=config.seed))
    encoder = dataclasses.replace(_encoder(config), precision=config.encoder.precision)
    return put_on_devices(encoder, config.encoder.model_devices)


def placed(encoder: FrozenEncoder) -> FrozenEncoder:
    """The encoder, whole on every device, with the mesh set up for it."""
    if isinstance(encoder, Encoder):
        return put_on_devices(encoder)
    devices.arrange(1)
    return devices.replicate(encoder) if encoder.jittable else encoder


def _encoder(config: Any) -> Encoder:
    folder = encoder_folder(config)
    if folder is None:
        return random_encoder(config.method, small_config(config.method), seed=config.seed)
    return load_encoder(folder, put=np.asarray)  # one device may be too small for all weights


def untrained_twin(encoder: FrozenEncoder, config: Any) -> Encoder:
    """The same architecture with random weights, drawn with the configuration's seed, on all devices.

    Raises:
      JaxpartError: The encoder is a function, whose weights are unknown.
    """
    if not isinstance(encoder, Encoder):
        raise JaxpartError(
            f"config.retrieval.untrained draws random weights for a ViT, and {encoder.name} is a function; "
            f"set it to False, and run your function with random weights separately"
        )
    twin = random_encoder(encoder.name, encoder.config, seed=config.seed)
    twin = dataclasses.replace(
        twin, preprocessing=encoder.preprocessing, precision=encoder.precision
    )
    return put_on_devices(twin, config.encoder.model_devices)

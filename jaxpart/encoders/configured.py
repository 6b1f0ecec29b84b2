"""The encoder that a configuration asks for."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from jaxpart.encoders.cutting import put_on_devices
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.loading import load_encoder, random_encoder
from jaxpart.encoders.precision import REFERENCE, check_precision
from jaxpart.encoders.shipped import shipped_folder
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError


def encoder_folder(config: Any) -> pathlib.Path | None:
    """Where the encoder of a configuration lies; None for one with random weights.

    Raises:
      JaxpartError: The configuration wants a converted encoder but names none, or a small one that there
        is not.
    """
    if config.encoder.checkpoint:
        return pathlib.Path(config.encoder.checkpoint)
    if config.encoder.small == "trained":
        return shipped_folder(config.method)
    if config.encoder.small == "random":
        return None
    if config.encoder.small:
        raise JaxpartError(
            f"config.encoder.small cannot be {config.encoder.small!r}; choose between 'trained' and "
            "'random', or name a config.encoder.checkpoint"
        )
    raise JaxpartError(
        f"the encoder is missing: pass --config.encoder.checkpoint=FOLDER, made of the released "
        f"checkpoint by `python -m convert {config.method} CHECKPOINT FOLDER`"
    )


def configured_encoder(config: Any) -> Encoder:
    """The converted or small encoder of a configuration, random weights being of its seed.

    It is on all devices, and batches are cut from now on as it wants them.

    Raises:
      JaxpartError: The configuration wants a converted encoder but names none, it cannot be read, or it
        cannot be had in that precision or on so many devices.
    """
    precision = config.encoder.get("precision", REFERENCE)  # older runs' configurations lack it
    check_precision(precision)
    encoder = dataclasses.replace(_encoder(config), precision=precision)
    return put_on_devices(encoder, config.encoder.get("model_devices", 1))


def _encoder(config: Any) -> Encoder:
    folder = encoder_folder(config)
    if folder is None:
        return random_encoder(config.method, small_config(config.method), seed=config.seed)
    return load_encoder(folder, put=np.asarray)  # one device may be too small for all weights


def untrained_twin(encoder: Encoder, config: Any) -> Encoder:
    """An encoder of the same architecture with random weights of a configuration's seed, on all devices."""
    twin = random_encoder(encoder.name, encoder.config, seed=config.seed)
    twin = dataclasses.replace(
        twin, preprocessing=encoder.preprocessing, precision=encoder.precision
    )
    return put_on_devices(twin, encoder.groups)

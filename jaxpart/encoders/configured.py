"""The encoder that a configuration asks for."""

from __future__ import annotations

import pathlib
from typing import Any

from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.loading import load_encoder, random_encoder
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError


def encoder_folder(config: Any) -> pathlib.Path | None:
    """Where the encoder of a configuration lies; None for one with random weights."""
    return pathlib.Path(config.encoder.checkpoint) if config.encoder.checkpoint else None


def configured_encoder(config: Any) -> Encoder:
    """The converted encoder of a configuration, or the small one with random weights of its seed.

    Raises:
      JaxpartError: The configuration wants a converted encoder but names none, or it cannot be read.
    """
    folder = encoder_folder(config)
    if folder is not None:
        return load_encoder(folder)
    if not config.encoder.small:
        raise JaxpartError(
            f"the encoder is missing: pass --config.encoder.checkpoint=FOLDER, made of the released "
            f"checkpoint by `python -m convert {config.method} CHECKPOINT FOLDER`"
        )
    return random_encoder(config.method, small_config(config.method), seed=config.seed)

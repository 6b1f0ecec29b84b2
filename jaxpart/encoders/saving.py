"""Saves encoders in the format that `jaxpart.load_encoder` reads."""

from __future__ import annotations

import importlib.metadata
import pathlib
from collections.abc import Mapping

from flax import nnx

from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.loading import shapes_of, write_encoder
from jaxpart.encoders.weights import arrays_of
from jaxpart.errors import JaxpartError
from jaxpart.io.files import path_of, remove_left, write_folder


def save_encoder(
    encoder: Encoder, folder: str | pathlib.Path, *, model: nnx.Module | None = None
) -> None:
    """Writes an encoder to a folder, atomically.

    Args:
      encoder: Provides architecture, pixel mean and std, and weights.
      folder: A new folder.
      model: `encoder.model` after training; its weights are written instead.

    Raises:
      JaxpartError: The folder exists or cannot be written, or the model has another architecture.
    """
    folder = path_of(folder)
    remove_left(folder.parent, folder.name)
    if folder.exists():
        raise JaxpartError(f"{folder} exists; name another folder")
    arrays = arrays_of(encoder.vit if model is None else model)
    if {path: array.shape for path, array in arrays.items()} != shapes_of(encoder.config):
        raise JaxpartError("the model's architecture differs from the encoder's")
    about: Mapping[str, object] = {
        "trained": encoder.trained or model is not None,
        "source": {"encoder_digest": encoder.digest},
        "versions": {"jaxpart": importlib.metadata.version("jaxpart")},
    }

    def write(out: pathlib.Path) -> None:
        write_encoder(out, encoder.name, encoder.config, encoder.preprocessing, arrays, about)

    write_folder(folder, write)

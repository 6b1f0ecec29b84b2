"""Encoders to disk, as `jaxpart.load_encoder` reads them."""

from __future__ import annotations

import importlib.metadata
import pathlib
from collections.abc import Mapping

import numpy as np
from flax import nnx

from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.loading import write_encoder
from jaxpart.errors import JaxpartError
from jaxpart.io.files import path_of, remove_left, write_folder


def arrays_of(encoder: Encoder) -> dict[str, np.ndarray]:
    """All weights of an encoder by dotted path, float32.

    Raises:
      JaxpartError: They are sharded over several devices' heads.
    """
    if encoder.groups != 1:
        raise JaxpartError(
            f"the encoder is laid out for {encoder.groups} devices; load it again without model_devices"
        )
    flat = nnx.to_flat_state(encoder.state)
    return {".".join(map(str, path)): np.asarray(leaf[...], np.float32) for path, leaf in flat}


def save_encoder(
    encoder: Encoder, folder: str | pathlib.Path, *, model: nnx.Module | None = None
) -> None:
    """Writes an encoder into a folder, which appears whole or not at all.

    Args:
      encoder: What is written: its architecture, the mean and std of its pixels, its weights.
      folder: To be made.
      model: `encoder.model` after it was trained on; its weights are written instead.

    Raises:
      JaxpartError: The folder exists or cannot be written, or the model is of another architecture.
    """
    folder = path_of(folder)
    remove_left(folder.parent, folder.name)
    if folder.exists():
        raise JaxpartError(f"{folder} exists; name another folder")
    arrays = arrays_of(encoder)
    about: Mapping[str, object] = {
        "trained": encoder.trained or model is not None,
        "source": {"encoder_digest": encoder.digest},
        "versions": {"jaxpart": importlib.metadata.version("jaxpart")},
    }
    if model is not None:
        flat = nnx.to_flat_state(nnx.state(model))
        trained = {".".join(map(str, p)): np.asarray(leaf[...], np.float32) for p, leaf in flat}
        if {p: a.shape for p, a in trained.items()} != {p: a.shape for p, a in arrays.items()}:
            raise JaxpartError("the model is not of the encoder's architecture")
        arrays = trained

    def write(out: pathlib.Path) -> None:
        write_encoder(out, encoder.name, encoder.config, encoder.preprocessing, arrays, about)

    write_folder(folder, write)

"""Encoders on disk: a folder with `encoder.json` and the weights, as `python -m convert` writes it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxpart.encoders.architecture import ViTConfig, chosen
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.families import Preprocessing, families
from jaxpart.encoders.precision import REFERENCE, Precision, check_precision
from jaxpart.encoders.vit import abstract_vit
from jaxpart.encoders.weights import matrix_shapes, with_arrays
from jaxpart.errors import JaxpartError
from jaxpart.io import checkpoints
from jaxpart.io.files import CHECKSUM, checksum_of, parse_json, path_of, write_json
from jaxpart.io.text import typed_value

FORMAT = 2
_WEIGHTS = "weights"
_ABOUT = "encoder.json"


@functools.lru_cache(maxsize=64)
def shapes_of(config: ViTConfig) -> Mapping[str, tuple[int, ...]]:
    """Shape on disk of every array of an encoder, by dotted path."""
    return types.MappingProxyType(matrix_shapes(abstract_vit(config)))


def encoder_digest(
    arrays: Mapping[str, ArrayLike], config: ViTConfig, preprocessing: Preprocessing
) -> str:
    """sha256 over everything that determines an encoder's output.

    Fields with their default value are excluded, so that adding a field does not change digests.

    Args:
      arrays: Its arrays by dotted path.
      config: Architecture.
      preprocessing: Mean and std of its pixels.
    """
    function = {
        "arrays": digest_of(arrays),
        "architecture": chosen(config),
        "preprocessing": dataclasses.asdict(preprocessing),
    }
    return checksum_of(function)


def digest_of(arrays: Mapping[str, ArrayLike]) -> str:
    """sha256 over names, shapes and float32 values, independent of order."""
    digest = hashlib.sha256()
    for path in sorted(arrays):
        array = np.ascontiguousarray(arrays[path], np.float32)
        digest.update(f"{path} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def write_encoder(
    folder: pathlib.Path,
    family: str,
    config: ViTConfig,
    preprocessing: Preprocessing,
    arrays: Mapping[str, ArrayLike],
    about: Mapping[str, Any],
) -> None:
    """Writes an encoder into an existing folder.

    Args:
      folder: Where `encoder.json` and the weights go.
      family: The method, "ibot".
      config: Architecture.
      preprocessing: Mean and std of its pixels.
      arrays: All weights by dotted path.
      about: Further entries of `encoder.json`.
    """
    checkpoints.save_arrays(folder / _WEIGHTS, arrays)
    document = {
        "format": FORMAT,
        "family": family,
        "architecture": dataclasses.asdict(config),
        "preprocessing": dataclasses.asdict(preprocessing),
        "digest": encoder_digest(arrays, config, preprocessing),
        **about,
    }
    write_json(folder / _ABOUT, document)


def read_about(folder: str | pathlib.Path) -> dict[str, Any]:
    """The contents of `encoder.json`, unvalidated.

    Raises:
      JaxpartError: The folder is not a converted encoder, or the file is damaged or was modified.
    """
    about = path_of(folder) / _ABOUT
    if not about.is_file():
        raise JaxpartError(
            f"{folder} is not a converted encoder (it has no {_ABOUT}); make one with "
            f"`python -m convert FAMILY CHECKPOINT {folder}`"
        )
    try:
        text = about.read_text(encoding="utf-8")
        document = parse_json(text)
        if document.get("format") == FORMAT and CHECKSUM not in json.loads(text):
            raise ValueError(f"it has no {CHECKSUM}")
        return document
    except OSError as error:
        raise JaxpartError(f"{about} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _damaged(about, error) from error


def _damaged(about: pathlib.Path, error: Exception) -> JaxpartError:
    reason = str(error) if isinstance(error, ValueError | JaxpartError) else repr(error)
    return JaxpartError(f"{about} is damaged ({reason}); convert the checkpoint again")


def describe(folder: str | pathlib.Path) -> tuple[dict[str, Any], ViTConfig]:
    """The contents of an encoder's `encoder.json`, and its architecture.

    Raises:
      JaxpartError: The folder is missing, or its `encoder.json` is damaged or of another version.
    """
    folder = path_of(folder)
    about, document = folder / _ABOUT, read_about(folder)
    if (version := document.get("format")) != FORMAT:
        raise JaxpartError(
            f"{about} has format {version}, this jaxpart reads {FORMAT}; convert again"
        )
    try:
        return document, typed_value(ViTConfig, document.get("architecture"), "architecture")
    except (TypeError, ValueError, JaxpartError) as error:
        raise _damaged(about, error) from error


def load_encoder(
    folder: str | pathlib.Path,
    *,
    precision: Precision = REFERENCE,
    put: Callable[[np.ndarray], ArrayLike] = jnp.asarray,
) -> Encoder:
    """Loads an encoder that `python -m convert FAMILY CHECKPOINT FOLDER` wrote.

    Args:
      folder: The encoder's folder.
      precision: "float32-highest", the reference; "float32", JAX's default on its device; or
        "bfloat16", matrix products with rounded operands. See `jaxpart.encoders.precision`.
      put: Moves each weight to a device; `numpy.asarray` leaves them on the host.

    Raises:
      JaxpartError: The folder is missing, incomplete, damaged or of another version, or the precision is
        unknown.
    """
    check_precision(precision)
    folder = path_of(folder)
    document, config = describe(folder)
    try:
        preprocessing = typed_value(Preprocessing, document.get("preprocessing"), "preprocessing")
        family = typed_value(str, document.get("family"), "family")
        shapes = shapes_of(config)
    except Exception as error:  # sizes that no arrays can have raise many types
        raise _damaged(folder / _ABOUT, error) from error
    arrays = checkpoints.load_arrays(folder / _WEIGHTS, shapes)
    digest = document.get("digest")
    if encoder_digest(arrays, config, preprocessing) != digest:
        raise JaxpartError(
            f"the weights of {folder} were modified after they were written; convert the checkpoint again"
        )
    trained = document.get("trained") is not False
    encoder = make_encoder(
        family, config, preprocessing, arrays, digest=digest, trained=trained, put=put
    )
    return dataclasses.replace(encoder, precision=precision)


def make_encoder(
    name: str,
    config: ViTConfig,
    preprocessing: Preprocessing,
    arrays: Mapping[str, ArrayLike],
    *,
    digest: str,
    trained: bool,
    put: Callable[[np.ndarray], ArrayLike] = jnp.asarray,
) -> Encoder:
    """Builds an encoder from arrays by dotted path, which must match the configuration exactly."""
    vit = with_arrays(abstract_vit(config), arrays, lambda _, array: put(array))
    return Encoder(name, vit, preprocessing, digest, trained)


def random_encoder(name: str, config: ViTConfig, *, seed: int = 0) -> Encoder:
    """An untrained encoder: the architecture of a method with random weights.

    Weights are drawn on the host, so they are the same everywhere: linear maps scaled by 1 / √inputs,
    norms at identity, biases at zero.
    """
    rng = np.random.default_rng(seed)
    arrays = {}
    for path, shape in shapes_of(config).items():
        kind = path.rsplit(".", 1)[-1]
        if kind == "kernel":
            fan_in = int(np.prod(shape[:-1]))
            arrays[path] = rng.normal(0, fan_in**-0.5, shape).astype(np.float32)
        elif kind in ("scale", "var"):
            arrays[path] = np.ones(shape, np.float32)
        elif kind in ("scale1", "scale2"):
            arrays[path] = np.full(shape, 0.1, np.float32)
        elif kind in ("positions", "prefix_tokens", "probe", "table"):
            arrays[path] = rng.normal(0, 0.02, shape).astype(np.float32)
        else:
            arrays[path] = np.zeros(shape, np.float32)
    facts = families().get(name)
    preprocessing = facts.preprocessing if facts else Preprocessing()
    return make_encoder(
        name,
        config,
        preprocessing,
        arrays,
        digest=encoder_digest(arrays, config, preprocessing),
        trained=False,
    )

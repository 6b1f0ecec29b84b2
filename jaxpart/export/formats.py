"""The three file formats. Each holds the features by name, "labels", "ids", and metadata."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxpart.errors import JaxpartError
from jaxpart.io.files import replacing, write_safetensors
from jaxpart.io.modules import library

FORMATS = ("safetensors", "npz", "parquet")


def check_format(kind: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Checks, before anything is computed, that a format can hold the features.

    Args:
      kind: One of `FORMATS`.
      shapes: Shapes of the features of one item.

    Raises:
      JaxpartError: There is no such format, its library is missing, or it does not hold such features.
    """
    if kind not in FORMATS:
        raise JaxpartError(f"there is no format {kind!r}; choose from {', '.join(FORMATS)}")
    if kind == "parquet":
        library("pyarrow", "--format parquet")
        for name, shape in shapes.items():
            if len(shape) != 1:
                raise JaxpartError(
                    f"parquet has one row per item and cannot hold all tokens of an image ({name}); "
                    f"choose safetensors or npz"
                )


def write_features(
    path: pathlib.Path,
    features: Mapping[str, np.ndarray],
    labels: Int[np.ndarray, " item"],
    ids: Sequence[str],
    about: Mapping[str, Any],
) -> None:
    """Writes a file in the format of its suffix.

    - safetensors: tensors by name; `ids` and `about` as JSON text in the metadata, one entry per key;
    - npz: arrays by name, `ids` as text, and `metadata`, one JSON text;
    - parquet: a row for each item with `id`, `label`, and each feature as a list of fixed size; `about`
      as JSON text in the schema's metadata, one entry per key.

    Args:
      path: The file.
      features: float32 [item, …] by name.
      labels: Class of each item.
      ids: Name of each item.
      about: Metadata of plain values.

    Raises:
      JaxpartError: It cannot be written, or a library is missing.
    """
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in about.items()}
    if path.suffix == ".safetensors":
        metadata = texts | {"ids": json.dumps(list(ids), ensure_ascii=False)}
        write_safetensors(path, {**features, "labels": labels}, metadata)
        return
    with replacing(path) as temporary:
        if path.suffix == ".npz":
            document = np.array(json.dumps(dict(about), ensure_ascii=False))
            with temporary.open("wb") as file:
                arrays = dict[str, Any](features, labels=labels, ids=np.array(ids))
                np.savez(file, **arrays, metadata=document)
        else:
            _write_parquet(temporary, features, labels, ids, texts)


def _write_parquet(
    path: pathlib.Path,
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    ids: Sequence[str],
    texts: Mapping[str, str],
) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    columns = {"id": arrow.array(list(ids), arrow.string()), "label": arrow.array(labels)}
    for name, array in features.items():
        values = arrow.array(np.ascontiguousarray(array).reshape(-1))
        columns[name] = arrow.FixedSizeListArray.from_arrays(values, array.shape[1])
    table = arrow.table(columns)
    parquet.write_table(table.replace_schema_metadata(dict(texts)), path)

"""Features computed elsewhere: a file with a row per item, matched by id.

`python -m jaxpart.export views` lists the items of a data set and their ids. Accepted files:

- .safetensors: arrays by representation, and "ids" in the metadata, a JSON list of strings;
- .npz: arrays by representation, and "ids", an array of strings;
- .parquet: a column "id", and a column of lists of floats per representation.

Arrays are [item, width], or [item, token, width] for all tokens of an image.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxpart.data.views import View
from jaxpart.encoders.loading import digest_of
from jaxpart.encoders.positions import Grid
from jaxpart.encoders.precision import REFERENCE
from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.files import on_disk
from jaxpart.io.modules import library
from jaxpart.io.npz import read_npz

_IDS = "ids"
_NOT_FEATURES = ("labels", "label", "metadata")
"""Other arrays that `jaxpart.export` writes."""


def item_id(view: View, name: str) -> str:
    """Identifies an item across data sets and views: "cub_parts/patch eval/001.jpg [4, 10, 30, 40]"."""
    return f"{view.data.split()[0]}/{view.kind}/{name}"


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureTable:
    """A file of features in place of an encoder (`jaxpart.encoders.frozen.FrozenEncoder`).

    Attributes:
      path: The file.
      arrays: Representations by name, [item, …] float32.
      row_of: The row of each item by its id.
      digest: sha256 of ids and arrays.
      image_size: (height, width) in pixels of the images for baselines.
    """

    path: pathlib.Path
    arrays: Mapping[str, Float[np.ndarray, "item ..."]]
    row_of: Mapping[str, int]
    digest: str
    image_size: Grid
    trained: ClassVar = True
    jittable: ClassVar = False
    precision: ClassVar[str] = REFERENCE
    prefix: ClassVar[tuple[str, ...]] = ()
    depth: ClassVar = 0

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def identity(self) -> Hashable:
        """The digest."""
        return self.digest

    def cache_key(self, name: str) -> dict[str, str]:
        """The digest and a representation; nothing is cached, since the file has the features."""
        return {"encoder": self.digest, "representation": name}

    def check_size(self, height: int, width: int) -> None:
        """Accepts any size."""

    def grid_of(self, height: int, width: int, block: int | None = None) -> NoReturn:
        """Raises `JaxpartError`: the grid of the tokens is unknown."""
        raise JaxpartError(f"{self.path} holds features of whole images, not of positions in them")

    def shapes(self, height: int, width: int) -> dict[str, Any]:
        """Its representations, as `jax.ShapeDtypeStruct` of one item."""
        shapes: dict[str, Any] = {
            name: jax.ShapeDtypeStruct((1, *array.shape[1:]), np.float32)
            for name, array in self.arrays.items()
        }
        return shapes | {"blocks": (), "projector": (), "predictor": ()}

    def normalize(self, images: Array) -> NoReturn:
        """Raises `JaxpartError`: a file of features cannot encode images."""
        raise JaxpartError(f"{self.path} holds features, not an encoder of images")

    def __call__(self, images: Any, **options: Any) -> NoReturn:
        """Raises `JaxpartError`: a file of features cannot encode images."""
        self.normalize(images)

    def check(self, view: View) -> None:
        """Raises `JaxpartError` if the file lacks an item of a view."""
        ids = [item_id(view, name) for name in view.ids]
        absent = [item for item in ids if item not in self.row_of]
        if absent:
            raise JaxpartError(
                f"{self.path} lacks {len(absent)} of {len(ids)} items of {view.data.split()[0]} "
                f"({view.kind}); the first is {absent[0]!r}: `python -m jaxpart.export views` lists all"
            )

    def rows(self, view: View, names: Sequence[str], kept: Sequence[int]) -> dict[str, np.ndarray]:
        """Features of some items of a view, by representation, [item, …]."""
        rows = np.array([self.row_of[item_id(view, view.ids[number])] for number in kept])
        return {name: self.arrays[name][rows] for name in names}


def read_table(path: str | pathlib.Path, *, side: int) -> FeatureTable:
    """Reads a feature file.

    Raises:
      JaxpartError: It cannot be read, has no ids or features, repeats an id with different features, or
        has a feature that is NaN or infinite.
    """
    path = on_disk(path, "a file of features")
    if not path.is_file():
        raise JaxpartError(f"config.encoder.features: there is no file {path}")
    readers = {".safetensors": _safetensors, ".npz": _npz, ".parquet": _parquet}
    if path.suffix not in readers:
        raise JaxpartError(
            f"config.encoder.features is {path}; give a file that ends with {', '.join(readers)}"
        )
    ids, named = readers[path.suffix](path)
    arrays = {name: _checked(path, name, a, ids) for name, a in named.items()}
    if not arrays:
        raise JaxpartError(f"{path} holds no features besides its ids")
    row_of: dict[str, int] = {}
    for row, item in enumerate(ids):
        first = row_of.setdefault(item, row)
        if any(not np.array_equal(array[first], array[row]) for array in arrays.values()):
            raise JaxpartError(
                f"{path} has the id {item!r} twice, in rows {first} and {row}, with different features; "
                f"keep one"
            )
    digest = hashlib.sha256(json.dumps(ids).encode("utf-8", "surrogatepass"))
    digest.update(digest_of(arrays).encode())
    return FeatureTable(path, arrays, row_of, digest.hexdigest(), (side, side))


def _checked(path: pathlib.Path, name: str, array: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    is_float = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    if not is_float or array.ndim not in (2, 3) or len(array) != len(ids) or 0 in array.shape:
        raise JaxpartError(
            f"{path} has {name} {list(array.shape)} of {array.dtype} for {len(ids)} ids; give "
            f"[item, width] or [item, token, width] of floats"
        )
    array = array.astype(np.float32)
    finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    if not finite.all():
        raise JaxpartError(f"{path}: {name} of {ids[int(finite.argmin())]!r} is NaN or infinite")
    return array


def _checked_ids(path: pathlib.Path, ids: Any) -> list[str]:
    if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
        raise JaxpartError(
            f"{path} does not say which items its features belong to; put their ids into "
            f"{_IDS!r}, one string per row"
        )
    return ids


def _safetensors(path: pathlib.Path) -> tuple[list[str], dict[str, np.ndarray]]:
    from jaxpart.io.tensor_files import metadata_ids, open_checkpoint

    arrays = open_checkpoint(path).contents
    return _checked_ids(path, metadata_ids(path)), {
        k: a for k, a in arrays.items() if k not in _NOT_FEATURES
    }


def _npz(path: pathlib.Path) -> tuple[list[str], dict[str, np.ndarray]]:
    arrays = read_npz(path, "write it again")
    ids = arrays.pop(_IDS, np.zeros(0))
    named = {name: array for name, array in arrays.items() if name not in _NOT_FEATURES}
    return _checked_ids(path, ids.tolist() if ids.dtype.kind == "U" else None), named


def _parquet(path: pathlib.Path) -> tuple[list[str], dict[str, np.ndarray]]:
    library("pyarrow", str(path))
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        columns = {name: table.column(name) for name in table.column_names}
        ids = columns.pop("id").to_pylist() if "id" in columns else None
        named = {}
        for name, column in columns.items():
            if name not in _NOT_FEATURES:
                rows = [np.asarray(row) for row in column.to_pylist()]
                named[name] = np.stack(rows)
    except Exception as error:  # pyarrow raises many kinds of errors
        raise JaxpartError(
            f"{path} cannot be read ({type(error).__name__}: {first_line(error)}); write it again"
        ) from error
    return _checked_ids(path, ids), named

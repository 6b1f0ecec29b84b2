"""Compares two files of features row by row."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxpart.errors import JaxpartError
from jaxpart.io.tensor_files import flatten, metadata_ids, open_checkpoint
from jaxpart.runs.table import Section, sections_text
from jaxpart.verify.comparing import TOLERANCE, cosines

_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class FeatureFile:
    """The contents of a file.

    Attributes:
      path: The file.
      arrays: Floating point arrays of at least two axes by name; rows along the first.
      ids: Names of the rows, or None.
    """

    path: pathlib.Path
    arrays: Mapping[str, np.ndarray]
    ids: Sequence[str] | None


@dataclasses.dataclass(frozen=True)
class ArrayReport:
    """The comparison of one array.

    Attributes:
      name: Its name, or its names in A and B.
      rows: Names or numbers of the compared rows.
      errors: Largest absolute error of each row.
      cosines: Cosine similarity of each row.
    """

    name: str
    rows: Sequence[str]
    errors: Float[np.ndarray, " row"]
    cosines: Float[np.ndarray, " row"]

    @property
    def error(self) -> float:
        """Largest absolute error of all rows."""
        return float(self.errors.max())

    def worst(self) -> list[dict[str, Any]]:
        """The rows that differ most, worst first."""
        order = np.argsort(-self.errors, kind="stable")[:_SHOWN]
        return [
            {
                "row": self.rows[i],
                "error": _finite(self.errors[i]),
                "cosine": float(self.cosines[i]),
            }
            for i in order
        ]


@dataclasses.dataclass(frozen=True)
class FeatureReport:
    """The comparison of two files.

    Attributes:
      files: Their paths.
      tolerance: Largest absolute error of equal values.
      arrays: One report for each array in both files.
      notes: Remarks on rows and arrays that are in one file only.
      alone: Number of rows that are in one file only.
    """

    files: tuple[str, str]
    tolerance: float
    arrays: Sequence[ArrayReport]
    notes: Sequence[str]
    alone: int

    @property
    def same(self) -> bool:
        """Whether both have the same rows and no value differs."""
        return not self.alone and all(a.error <= self.tolerance for a in self.arrays)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "files": list(self.files),
            "tolerance": self.tolerance,
            "same": self.same,
            "notes": list(self.notes),
            "arrays": {
                array.name: {
                    "rows": len(array.rows),
                    "error": _finite(array.error),
                    "cosine_min": float(array.cosines.min()),
                    "cosine_mean": float(array.cosines.mean()),
                    "worst": array.worst(),
                }
                for array in self.arrays
            },
        }

    def as_text(self) -> str:
        """A row for each array, and the worst rows of arrays that differ."""
        rows = []
        for array in self.arrays:
            departs = not array.error <= self.tolerance
            worst = ", ".join(f"{row['row']} {float(row['error']):.1e}" for row in array.worst())
            least, mean = f"{array.cosines.min():.8f}", f"{array.cosines.mean():.8f}"
            note = f"DIFFERS; worst: {worst}" if departs else ""
            rows.append((array.name, str(len(array.rows)), f"{array.error:.1e}", least, mean, note))
        columns = ("features", "rows", "largest error", "least cosine", "mean cosine", "")
        lines = [sections_text(None, [Section(columns, rows)]), *self.notes]
        return "\n".join([*lines, "same" if self.same else "NOT THE SAME"])


def _finite(value: float) -> float | str:
    return float(value) if np.isfinite(value) else str(float(value))


def verify_features(
    a: str | pathlib.Path,
    b: str | pathlib.Path,
    *,
    key: str | None = None,
    tolerance: float = TOLERANCE,
) -> FeatureReport:
    """Compares two files of features, matching rows by id, or by number if a file has no ids.

    Args:
      a: `.npz`, `.npy`, `.safetensors` or `.pt`; no code in it is run.
      b: The other file.
      key: The array's name in both files, or "NAME_IN_A=NAME_IN_B"; by default all arrays in both, or
        the only array of each.
      tolerance: Largest absolute error of equal values.

    Raises:
      JaxpartError: A file cannot be read, or nothing in it can be compared.
    """
    files = read_features(a), read_features(b)
    pairs = _pairs(*files, key)
    first, second = files[0].arrays[pairs[0][0]], files[1].arrays[pairs[0][1]]
    rows, orders, alone = _align(files[0], files[1], len(first), len(second))
    reports = []
    for names in pairs:
        name = names[0] if names[0] == names[1] else " = ".join(names)
        left, right = (f.arrays[n] for f, n in zip(files, names, strict=True))
        if left.shape[1:] != right.shape[1:]:
            raise JaxpartError(
                f"{name} has rows of shape {list(left.shape[1:])} in {a} and {list(right.shape[1:])} in "
                f"{b}; match arrays with --key A=B"
            )
        if len(left) != len(first) or len(right) != len(second):
            raise JaxpartError(f"the arrays of a file have different numbers of rows, as {name}")
        x, y = (
            v[o].astype(np.float64).reshape(len(o), -1)
            for v, o in zip((left, right), orders, strict=True)
        )
        errors = np.abs(x - y).max(axis=1, initial=0)
        errors = np.where(np.isnan(errors), np.inf, errors)
        reports.append(ArrayReport(name, rows, errors, np.nan_to_num(cosines(x, y))))
    notes = [f"{alone} rows are in one file alone"] if alone else []
    if key is None:
        for file, other in (files, files[::-1]):
            only = sorted(set(file.arrays) - {name for pair in pairs for name in pair})
            notes += [f"only in {file.path}: {', '.join(only)}"] if only and other.arrays else []
    return FeatureReport((str(a), str(b)), tolerance, reports, notes, alone)


def read_features(path: str | pathlib.Path) -> FeatureFile:
    """Arrays and row names of a file.

    Row names are an array or list "ids", or "ids" in the metadata of a safetensors file as JSON, which
    is how `python -m jaxpart.export` writes them.

    Raises:
      JaxpartError: The file cannot be read, or holds no features.
    """
    path = pathlib.Path(path)
    contents = open_checkpoint(path).contents
    if isinstance(contents, np.ndarray):
        contents = {"features": contents}
    arrays = {
        name: value
        for name, value in flatten(contents)
        if isinstance(value, np.ndarray)
        and value.ndim >= 2
        and jax.dtypes.issubdtype(value.dtype, np.floating)  # also bfloat16 and float8
    }
    if not arrays:
        raise JaxpartError(f"{path} holds no floating-point array with rows; give a feature file")
    for name, value in arrays.items():
        if not value.size:
            raise JaxpartError(f"{path}: {name} holds no rows or columns; write it again")
    return FeatureFile(path, arrays, _ids(path, contents))


def _ids(path: pathlib.Path, contents: Any) -> list[str] | None:
    ids = contents.get("ids") if isinstance(contents, dict) else None
    if ids is None and path.suffix == ".safetensors":
        ids = metadata_ids(path)
    return None if ids is None else [str(name) for name in np.asarray(ids).reshape(-1).tolist()]


def _pairs(a: FeatureFile, b: FeatureFile, key: str | None) -> list[tuple[str, str]]:
    if key is not None:
        left, _, right = key.partition("=")
        names = left, right or left
        for file, name in zip((a, b), names, strict=True):
            if name not in file.arrays:
                raise JaxpartError(
                    f"{file.path} has no features {name!r}; choose from {', '.join(file.arrays)}"
                )
        return [names]
    common = [name for name in a.arrays if name in b.arrays]
    if common:
        return [(name, name) for name in common]
    if len(a.arrays) == len(b.arrays) == 1:
        return list(zip(a.arrays, b.arrays, strict=True))
    raise JaxpartError(
        f"{a.path} ({', '.join(a.arrays)}) and {b.path} ({', '.join(b.arrays)}) have no array of the "
        f"same name; match arrays with --key A=B"
    )


def _align(
    a: FeatureFile, b: FeatureFile, rows_a: int, rows_b: int
) -> tuple[list[str], tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"]], int]:
    """Names of the rows to compare, their indices in both files, and the number of unmatched rows."""
    if a.ids is None or b.ids is None:
        if rows_a != rows_b:
            raise JaxpartError(
                f"{a.path} has {rows_a} rows and {b.path} {rows_b}, and without ids in both they "
                "cannot be matched"
            )
        order = np.arange(rows_a)
        return [str(i) for i in order], (order, order), 0
    for file, rows in ((a, rows_a), (b, rows_b)):
        if len(file.ids or ()) != rows:
            raise JaxpartError(f"{file.path} has {rows} rows but {len(file.ids or ())} ids")
    rows_by_id = [_rows_by_id(file.ids or ()) for file in (a, b)]
    common = [row for row in rows_by_id[0] if row in rows_by_id[1]]
    if not common:
        raise JaxpartError(f"{a.path} and {b.path} have no row of the same id")
    left, right = (np.array([index_of[row] for row in common]) for index_of in rows_by_id)
    return [row[0] for row in common], (left, right), rows_a + rows_b - 2 * len(common)


def _rows_by_id(ids: Sequence[str]) -> dict[tuple[str, int], int]:
    """The row of each id; repeated ids are numbered."""
    seen = collections.Counter[str]()
    rows = {}
    for row, name in enumerate(ids):
        rows[name, seen[name]] = row
        seen[name] += 1
    return rows

"""Annotations of many images packed into a few arrays, stored beside a prepared data set's shards."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np

from jaxpart.data.source import Annotation, Keypoints
from jaxpart.errors import JaxpartError
from jaxpart.io.npz import check_unpacked

_NO_LABEL = -1
_END = "\0"  # between ids: no path contains it
_ESCAPED = "surrogateescape"  # file names may be any bytes
_SIZE = "size"  # absent from files of earlier versions
_FIELDS = ("ids", "label", "starts", "has_keypoints", "part", "xy", "visible", "instance")


def encode_annotations(annotations: Sequence[Annotation]) -> bytes:
    """Packs annotations into an .npz file; deterministic."""
    empty = Keypoints(
        np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0, bool), np.zeros(0, np.int64)
    )
    points = [annotation.keypoints or empty for annotation in annotations]
    joined = [empty, *points]  # concatenation needs at least one array
    file = io.BytesIO()
    np.savez(
        file,
        ids=np.frombuffer(_END.join(a.id for a in annotations).encode("utf-8", _ESCAPED), np.uint8),
        label=np.array([_NO_LABEL if a.label is None else a.label for a in annotations], np.int64),
        size=np.array([a.size or (0, 0) for a in annotations], np.int64).reshape(-1, 2),
        starts=np.cumsum([0, *(len(p.part) for p in points)], dtype=np.int64),
        has_keypoints=np.array([a.keypoints is not None for a in annotations], bool),
        part=np.concatenate([p.part for p in joined]).astype(np.int64),
        xy=np.concatenate([p.xy for p in joined]).astype(np.float64),
        visible=np.concatenate([p.visible for p in joined]).astype(bool),
        instance=np.concatenate([p.instance for p in joined]).astype(np.int64),
    )
    return file.getvalue()


class AnnotationTable:
    """Annotations read back from files written by `encode_annotations`, concatenated."""

    def __init__(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Takes the (name, content) of each file. Raises `JaxpartError` if one is damaged."""
        tables = [_load(name, data) for name, data in files]
        self._ids = [key for table in tables for key in _split_ids(table)]
        joined = {
            field: np.concatenate([table[field] for table in tables])
            for field in _FIELDS
            if field not in ("ids", "starts")
        }
        self._label, self._has_keypoints = joined["label"], joined["has_keypoints"]
        self._keypoints = [joined[field] for field in ("part", "xy", "visible", "instance")]
        self._sizes = np.concatenate(
            [table.get(_SIZE, np.zeros((len(table["label"]), 2), np.int64)) for table in tables]
        )
        counts = [np.diff(table["starts"]) for table in tables]
        self._starts = np.cumsum(np.concatenate([[0], *counts]))

    def __len__(self) -> int:
        """Number of images."""
        return len(self._ids)

    def __getitem__(self, index: int) -> Annotation:
        """The annotation of an image, by its position in the files."""
        keypoints = None
        if self._has_keypoints[index]:
            rows = slice(self._starts[index], self._starts[index + 1])
            keypoints = Keypoints(*(values[rows] for values in self._keypoints))
        label = int(self._label[index])
        width, height = self._sizes[index].tolist()
        return Annotation(
            self._ids[index],
            keypoints,
            None if label == _NO_LABEL else label,
            (width, height) if width else None,
        )


def _split_ids(table: Mapping[str, np.ndarray]) -> list[str]:
    if not len(table["label"]):
        return []
    return bytes(table["ids"]).decode("utf-8", _ESCAPED).split(_END)


def _load(name: str, data: bytes) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            check_unpacked(arrays.zip, len(data))
            fields = (*_FIELDS, _SIZE) if _SIZE in arrays.files else _FIELDS
            return {field: arrays[field] for field in fields}
    except Exception as error:  # damaged bytes raise a dozen types
        raise JaxpartError(f"{name} is damaged ({error}); prepare the data set again") from error

"""Images with label maps as a `Source` over (image, PNG) files."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxpart.data.folders import file_sizes, fingerprint, list_pairs, read_file
from jaxpart.data.images import as_png, decode_indices
from jaxpart.data.indexes import kept_labels
from jaxpart.data.layouts import Layout
from jaxpart.data.listed_images import ListedImages
from jaxpart.data.masks import Labels
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError
from jaxpart.labels import IGNORE, check_labels

_GREY, _EIGHT_BITS = 0, 8

SPLITS = ("train", "val")
"""Splits of every segmentation data set, whatever its folders are called."""


PAPER = "the paper's folder (https://github.com/JiePKU/understand-ssl-part-aware)"
"""Source of the prepared folders, for error messages."""


def paper_layout(*places: str) -> Layout:
    """The layout of the folders published by the paper's authors: img/{train,val} and ann/{train,val}."""
    return Layout(places, ("ann/train", "ann/val"))


def paper_pairs(folder: pathlib.Path, split: str) -> list[tuple[str, str]]:
    """(image, label map) paths of a split in `paper_layout`."""
    return list_pairs(folder, f"img/{split}", f"ann/{split}")


def check_names(where: object, names: Sequence[str]) -> None:
    """Raises `JaxpartError` if there are more labels, background included, than fit into a byte."""
    if len(names) > IGNORE:
        raise JaxpartError(
            f"{where} has {len(names) - 1} classes; a label map holds {IGNORE - 1} plus the background"
        )


def numbered(count: int) -> tuple[str, ...]:
    """Names for classes whose official names are not public: "background", "class 1", …"""
    return ("background", *(f"class {i}" for i in range(1, count + 1)))


class LabelMaps(ListedImages):
    """Pairs of image and label map files as a `Source`.

    A record has one mask: an 8-bit grey PNG stays as it is; palette, 1-bit and 16-bit files are decoded.
    """

    def __init__(
        self,
        name: str,
        split: str,
        root: pathlib.Path,
        pairs: Sequence[tuple[str, str]],
        kind: str,
        class_names: Sequence[str],
        renumbered: Sequence[int] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Uses the file sizes for the version; reads no file.

        Args:
          name: The data set.
          split: Its split.
          root: The folder that the paths in `pairs` are relative to.
          pairs: Paths of (image, label map).
          kind: Kind of the mask, "part" or "object".
          class_names: Name of each label, from label 0.
          renumbered: New label of each label in the files; None to keep them.
          notes: See `DatasetInfo`.

        Raises:
          JaxpartError: A file is missing.
        """
        self._pairs, self._kind, self._renumbered = tuple(pairs), kind, renumbered
        files = file_sizes(root, (path for pair in self._pairs for path in pair))
        info = DatasetInfo(
            name=name,
            split=split,
            version=fingerprint(files, repr(tuple(class_names)), repr(renumbered)),
            mask_names={kind: tuple(class_names)},
            notes=notes,
        )
        super().__init__(root, [Annotation(image) for image, _ in self._pairs], info)

    def origin(self, index: int) -> tuple[str, ...]:
        """The image and its label map."""
        return tuple(f"{self._root}/{path}" for path in self._pairs[index])

    def __getitem__(self, index: int) -> Record:
        """An image with its label map."""
        path = self._pairs[index][1]
        data = read_file(self._root / path)
        mask: bytes | Labels = data
        if self._renumbered is not None or not _is_grey(data):
            mask = kept_labels(self, index, lambda: self._draw(index))
        return dataclasses.replace(super().__getitem__(index), masks={self._kind: mask})

    def _draw(self, index: int) -> Labels:
        path = self._pairs[index][1]
        return decoded(read_file(self._root / path), path, self._renumbered)


def encoded(record: Record) -> Record:
    """The record with drawn label maps encoded as PNG files."""
    return dataclasses.replace(record, masks=mask_files(record))


def mask_files(record: Record) -> dict[str, bytes]:
    """The label maps of a record as PNG files."""
    return {
        kind: as_png(mask) if isinstance(mask, np.ndarray) else mask
        for kind, mask in record.masks.items()
    }


def decoded(data: bytes, name: str, renumbered: Sequence[int] | None = None) -> Labels:
    """The labels of a PNG file of any kind.

    Args:
      data: The file.
      name: Its name, for error messages.
      renumbered: New label of each label in the file; None to keep them.

    Raises:
      JaxpartError: It is not a label map, or a label is above 255 or has no new label.
    """
    labels = decode_indices(data, name)
    check_labels(labels, IGNORE if renumbered is None else len(renumbered), where=name)
    if renumbered is None:
        return labels.astype(np.uint8)
    table = np.full(IGNORE + 1, IGNORE, np.uint8)
    table[: len(renumbered)] = renumbered
    return table[labels]


def _is_grey(data: bytes) -> bool:
    """Whether a file is an 8-bit grey PNG, which is a label map already."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:26] == bytes((_EIGHT_BITS, _GREY))

"""Images with label maps: a `Source` over (image, PNG) files, and how label maps are read."""

from __future__ import annotations

import io
import pathlib
import struct
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxpart.data.folders import Layout, file_sizes, fingerprint, list_pairs, read_file
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError

Labels = UInt8[np.ndarray, "height width"]

_GREY, _EIGHT_BITS = 0, 8

SPLITS = ("train", "val")
"""Splits of every segmentation set, whatever its folders call them."""


def paper_layout(*places: str) -> Layout:
    """The folders that the paper's authors give away: img/{train,val} and ann/{train,val}."""
    return Layout(places, ("ann/train", "ann/val"))


def paper_pairs(folder: pathlib.Path, split: str) -> list[tuple[str, str]]:
    """(image, label map) paths of a split in `paper_layout`."""
    return list_pairs(folder, f"img/{split}", f"ann/{split}")


def numbered(count: int) -> tuple[str, ...]:
    """Names for classes whose official names are not public: "background", "class 1", …"""
    return ("background", *(f"class {i}" for i in range(1, count + 1)))


class LabelMaps:
    """Pairs of image and label map files as a `Source`.

    A record has one mask, an 8-bit grey PNG of the image's size. Files that are that already keep
    their bytes; palette, 1-bit and 16-bit PNGs are stored anew with the same labels.
    """

    info: DatasetInfo

    def __init__(
        self,
        name: str,
        split: str,
        root: pathlib.Path,
        pairs: Sequence[tuple[str, str]],
        kind: str,
        class_names: Sequence[str],
        lookup: Labels | None = None,
    ) -> None:
        """Looks at the sizes of the files, for the version; reads none.

        Args:
          name: The data set.
          split: Its split.
          root: The folder that the paths of `pairs` start from.
          pairs: Paths of (image, label map).
          kind: Kind of the mask, "part" or "object".
          class_names: Name of each label, from label 0.
          lookup: New label of each label in the files, [labels in the files]; None if they stay.

        Raises:
          JaxpartError: A file is missing.
        """
        self._root, self._pairs, self._kind, self._lookup = root, tuple(pairs), kind, lookup
        self._classes = len(class_names) if lookup is None else len(lookup)
        files = file_sizes(root, (path for pair in self._pairs for path in pair))
        renamed = b"" if lookup is None else lookup.tobytes()
        self.info = DatasetInfo(
            name=name,
            split=split,
            version=fingerprint(files, repr(tuple(class_names)), renamed),
            mask_names={kind: tuple(class_names)},
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self._pairs)

    def annotation(self, index: int) -> Annotation:
        """The image's path."""
        return Annotation(self._pairs[index][0])

    def __getitem__(self, index: int) -> Record:
        """An image with its label map."""
        image_path, label_path = (self._root / path for path in self._pairs[index])
        image, label = read_file(image_path), read_file(label_path)
        if self._lookup is None:
            label = grey_png(label, str(label_path))
        else:
            labels = decode_labels(label, str(label_path), len(self._lookup))
            label = encode_labels(self._lookup[labels])
        check_size(image, str(image_path), label, str(label_path))
        return Record(self.annotation(index), image, {self._kind: label})


def decode_labels(data: bytes, name: str, classes: int) -> Labels:
    """The labels in a PNG file, uint8 [height, width].

    Args:
      data: The file's bytes: grey or palette (its indices are the labels), of up to 16 bits.
      name: The file, for the error.
      classes: Number of labels, background included: the largest is one less.

    Raises:
      JaxpartError: The file is damaged, has colours instead of labels, or a label is out of range.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            mode, labels = image.mode, np.asarray(image)
    except Exception as error:  # damaged bytes raise a dozen types
        raise JaxpartError(f"{name} is no label map that can be read ({error})") from error
    if mode not in ("1", "L", "P", "I", "I;16", "I;16B") or _scaled(data):
        raise JaxpartError(
            f"{name} is a picture (mode {mode}), no label map; save it as an 8-bit grey PNG with one "
            "label per pixel"
        )
    largest = int(labels.max(initial=0))
    if largest >= classes:
        raise JaxpartError(f"{name} has the label {largest}; its labels are 0 to {classes - 1}")
    return labels.astype(np.uint8)


def encode_labels(labels: Labels) -> bytes:
    """An 8-bit grey PNG file of labels."""
    file = io.BytesIO()
    Image.fromarray(labels).save(file, "png")
    return file.getvalue()


def grey_png(data: bytes, name: str) -> bytes:
    """A label map as an 8-bit grey PNG: the same bytes if it is one.

    Raises:
      JaxpartError: It is no label map, or a label is above 255.
    """
    header = _png_header(data)
    if header is not None and header[2:] == (_EIGHT_BITS, _GREY):
        return data
    return encode_labels(decode_labels(data, name, 256))


def check_size(image: bytes, image_name: str, label: bytes, label_name: str) -> None:
    """Raises `JaxpartError` unless a label map (PNG) has the size of its image; decodes neither."""
    sizes = image_size(image, image_name), image_size(label, label_name)
    if sizes[0] != sizes[1]:
        (width, height), (label_width, label_height) = sizes
        raise JaxpartError(
            f"{image_name} has {width} × {height} pixels, but its label map {label_name} has "
            f"{label_width} × {label_height}; replace one of them"
        )


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) as an encoded image's header states them.

    Raises:
      JaxpartError: It is no image.
    """
    header = _png_header(data)
    if header is not None:
        return header[0], header[1]
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except Exception as error:
        fault = "is an empty file" if not data else "is not an image that Pillow can read"
        raise JaxpartError(f"{name} {fault}; replace it") from error


def _png_header(data: bytes) -> tuple[int, int, int, int] | None:
    """(width, height, bits, colour type) of a PNG file; None if it is none."""
    if len(data) < 26 or data[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    return struct.unpack(">IIBB", data[16:26])


def _scaled(data: bytes) -> bool:
    """Whether Pillow would scale the values: grey of 2 or 4 bits comes as shares of 255."""
    header = _png_header(data)
    return header is not None and header[3] == _GREY and header[2] in (2, 4)

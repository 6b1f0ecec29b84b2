"""Annotation files of Pascal-Part (.mat): objects with their parts and masks."""

from __future__ import annotations

import contextlib
import functools
import io
import pathlib
import re
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxpart.data.folders import Stamp, read_file
from jaxpart.data.indexes import kept_document
from jaxpart.data.patch_images import in_order
from jaxpart.errors import JaxpartError

_NUMBER = re.compile(r"_\d+$")
_MAT_HEADER, _MAT_COMPRESSED = 128, 15
"""Bytes of a MATLAB 5 file's header, and the type of its compressed elements."""
_INFLATED = 1 << 28
"""Most bytes that compressed elements may inflate to: masks of 100 parts of 2.5 million pixels."""
_DEFLATED = 1032
"""Most bytes that one deflated byte can become."""


class Region(NamedTuple):
    """An object or a part of it in one image: its class name and its pixels."""

    name: str
    mask: Bool[np.ndarray, "height width"]


class AnnotatedObject(NamedTuple):
    """An object with its parts, in the annotation's order."""

    whole: Region
    parts: list[Region]


def read_annotation(path: pathlib.Path) -> list[AnnotatedObject]:
    """The objects of an annotation file, in its order; at least one.

    Numbers of parts are dropped ("wheel_2" is "wheel").

    Raises:
      JaxpartError: The file cannot be read, is damaged, lacks a field or has masks of two sizes.
    """
    import scipy.io

    data = read_file(path)
    if len(data) * _DEFLATED > _INFLATED and _inflated(data) > _INFLATED:
        raise JaxpartError(
            f"{path} holds more than {_INFLATED >> 20} MiB of masks, as no annotation of Pascal-Part does; "
            "unpack it again"
        )
    try:
        document: dict[str, Any] = scipy.io.loadmat(io.BytesIO(data), variable_names=["anno"])
    except Exception as error:  # damaged bytes raise a dozen types
        raise JaxpartError(f"{path} is damaged ({error}); unpack it again") from error
    try:
        objects = [
            AnnotatedObject(
                _region(whole, "class"),
                [_region(part, "part_name") for part in whole["parts"].flat],
            )
            for whole in document["anno"][0, 0]["objects"].flat
        ]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise JaxpartError(
            f"{path} lacks a field of Pascal-Part ({error}); unpack it again"
        ) from error
    regions = [region for whole, parts in objects for region in (whole, *parts)]
    shapes = {region.mask.shape for region in regions}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise JaxpartError(f"{path} holds masks of the sizes {sorted(shapes)} instead of one")
    return objects


def _inflated(data: bytes) -> int:
    """Bytes of a MATLAB file's compressed elements once inflated; counted only as far as allowed."""
    order = ">" if data[126:128] == b"MI" else "<"
    position, total = _MAT_HEADER, 0
    while position + 8 <= len(data) and total <= _INFLATED:
        kind, size = struct.unpack_from(f"{order}II", data, position)
        position += 8
        if kind == _MAT_COMPRESSED:
            inflate, rest = zlib.decompressobj(), data[position : position + size]
            with contextlib.suppress(zlib.error):  # scipy tells it
                while rest and total <= _INFLATED:
                    total += len(inflate.decompress(rest, 1 << 20))
                    rest = inflate.unconsumed_tail
        position += size
    return total


def _region(entry: Any, name: str) -> Region:
    text = entry[name]
    if text.size != 1 or text.dtype.kind != "U":
        raise ValueError(f"the field {name!r} is not a string")
    return Region(_NUMBER.sub("", str(text.flat[0])), entry["mask"] != 0)


@functools.lru_cache(maxsize=1)  # both splits need it, for parts and for objects
def all_pairs(folder: pathlib.Path, stamps: tuple[Stamp, ...]) -> list[tuple[str, str]]:
    """All (object, part) pairs of annotation files, sorted; kept in the user's cache."""
    files = [folder / stamp.name for stamp in stamps]

    def read() -> list[tuple[str, str]]:
        pairs: set[tuple[str, str]] = set().union(*in_order(_pairs, files))  # zlib releases the GIL
        if not pairs:
            raise JaxpartError(
                f"{files[0].parent} has no annotated part; unpack Annotations_Part again"
            )
        return sorted(pairs)

    cached = kept_document(f"Pascal-Part's pairs {folder.resolve()} {stamps}", read)
    return [(whole, part) for whole, part in cached]


def _pairs(file: pathlib.Path) -> set[tuple[str, str]]:
    return {(whole.name, part.name) for whole, parts in read_annotation(file) for part in parts}

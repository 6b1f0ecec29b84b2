"""Caches what is slow to read or to draw in the user's cache, beside features."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxpart.data.annotations import AnnotationTable, encode_annotations
from jaxpart.data.identity import status_of
from jaxpart.data.masks import Labels
from jaxpart.data.source import Annotation, Source
from jaxpart.io.files import moved_into_place, user_cache

_FORMAT = 1
"""To be raised when the cached content, or a rule that makes it, changes."""
_FEW, _BLOCK = 8, 4096
"""Number of images to estimate sizes from, and the least that a file takes on most disks."""
_DIGEST = 32
"""Bytes of the SHA-256 that a file begins with, of the rest."""


def kept_annotations(key: str, read: Callable[[], Iterable[Annotation]]) -> AnnotationTable:
    """The annotations that a key stands for: from the cache, else read and kept there.

    Damaged files are replaced; a cache that cannot be written is not used.

    Args:
      key: A text that differs whenever an annotation does.
      read: Reads them all.

    Raises:
      JaxpartError: As `read` does.
    """
    content = _kept(key, lambda: encode_annotations(list(read())))
    return AnnotationTable([("the annotations in the user's cache", content)])


def kept_document(key: str, read: Callable[[], Any]) -> Any:
    """What JSON holds, kept as `kept_annotations` keeps annotations; tuples become lists."""
    return json.loads(_kept(key, lambda: json.dumps(read()).encode()))


def kept_labels(source: Source, index: int, draw: Callable[[], Labels]) -> Labels:
    """The label map of an image that is read from files, kept as `kept_annotations` keeps annotations.

    It is drawn again when the data set's version, or the size or time of a file, has changed.

    Args:
      source: The data set.
      index: The image's index in it.
      draw: Makes the label map.

    Raises:
      JaxpartError: As `draw` does.
    """
    info, origin = source.info, source.origin(index)
    files = [(path, status_of(path)) for path in origin[1:]]
    key = f"{info.name} {info.version} {source.annotation(index).id} {files}"
    return decoded_labels(_kept(key, lambda: encoded_labels(draw()), "label_maps"))


def expected_bytes(source: Source) -> int:
    """About how many bytes `kept_labels` takes for a data set, by a few images; 0 if it keeps none."""
    some = range(0, len(source), max(1, len(source) // _FEW))
    sizes = [
        len(encoded_labels(mask))
        for index in some
        if not isinstance(source.origin(index), str)
        for mask in source[index].masks.values()
        if isinstance(mask, np.ndarray)
    ]
    blocks = sum(-(-size // _BLOCK) * _BLOCK for size in sizes)
    return blocks * len(source) // len(some)


def encoded_labels(labels: Labels) -> bytes:
    """A label map as it is kept: its height and width, and its labels compressed.

    Level 1, since for 1.3 million pixels it takes 0.7 ms to decompress, where a PNG takes 3.1.
    """
    return np.array(labels.shape, "<u4").tobytes() + zlib.compress(labels.tobytes(), 1)


def decoded_labels(content: bytes) -> Labels:
    """The label map of `encoded_labels`; read-only."""
    height, width = np.frombuffer(content, "<u4", 2).tolist()
    labels = zlib.decompress(memoryview(content)[8:], bufsize=height * width)
    return np.frombuffer(labels, np.uint8).reshape(height, width)


def _kept(key: str, make: Callable[[], bytes], kind: str = "annotations") -> bytes:
    digest = hashlib.sha256(f"{_FORMAT} {key}".encode("utf-8", "surrogateescape")).hexdigest()
    path = user_cache() / kind / digest[:2] / digest
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
            return content[_DIGEST:]
    content = make()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with moved_into_place(path) as temporary:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
    return content

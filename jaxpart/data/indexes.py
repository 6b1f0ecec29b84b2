"""Annotations that take a pass over all images to read, kept in the user's cache beside features."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable

from jaxpart.data.annotations import AnnotationTable, encode_annotations
from jaxpart.data.source import Annotation
from jaxpart.errors import JaxpartError
from jaxpart.io.files import moved_into_place, user_cache

_DIGEST = 32
"""Bytes of the SHA-256 that a file begins with, of the rest."""


def kept_annotations(key: str, read: Callable[[], Iterable[Annotation]]) -> AnnotationTable:
    """The annotations that a key stands for: from the cache, else read and kept there.

    A file that is damaged is read anew, and a cache that cannot be written is done without.

    Args:
      key: A text that is another wherever an annotation is.
      read: Reads them all.

    Raises:
      JaxpartError: As `read` does.
    """
    path = user_cache() / "annotations" / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"
    with contextlib.suppress(OSError, JaxpartError):
        content = path.read_bytes()
        if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
            return AnnotationTable([(str(path), content[_DIGEST:])])
    content = encode_annotations(list(read()))
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with moved_into_place(path) as temporary:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
    return AnnotationTable([(str(path), content)])

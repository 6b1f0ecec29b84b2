"""What takes a pass over all images or annotations to read, kept in the user's cache beside features."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from jaxpart.data.annotations import AnnotationTable, encode_annotations
from jaxpart.data.source import Annotation
from jaxpart.io.files import moved_into_place, user_cache

_FORMAT = 1
"""Changes where what is kept, or a rule by which it is made, does."""
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
    content = _kept(key, lambda: encode_annotations(list(read())))
    return AnnotationTable([("the annotations in the user's cache", content)])


def kept_document(key: str, read: Callable[[], Any]) -> Any:
    """What JSON holds, kept as `kept_annotations` keeps annotations; tuples become lists."""
    return json.loads(_kept(key, lambda: json.dumps(read()).encode()))


def _kept(key: str, make: Callable[[], bytes]) -> bytes:
    stated = f"{_FORMAT} {key}".encode("utf-8", "surrogateescape")
    path = user_cache() / "annotations" / hashlib.sha256(stated).hexdigest()
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

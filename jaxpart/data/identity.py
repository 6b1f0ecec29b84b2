"""Content identities of images, so that an image with the same name but other content is noticed.

Files of up to `READ_FIRST` bytes in total are hashed. Larger data sets would take minutes, so sizes and
modification times are used instead; for cached features also the inode change time, which users cannot set.
A file that was only touched or copied then counts as changed; a changed file never counts as unchanged.
"""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import os
from collections.abc import Iterable, Sequence

from jaxpart.data.source import Source

READ_FIRST = 4 << 30
_MISSING = "missing"


def identities(source: Source, indices: Sequence[int]) -> list[str]:
    """The identities of some images with their label maps; each file is read once.

    Args:
      source: The data set.
      indices: Indices of images; they may repeat.
    """
    origins = {index: source.origin(index) for index in dict.fromkeys(indices)}
    of_file = _of_files(origins.values(), moved_counts=True)
    return [_of_origin(origins[index], of_file) for index in indices]


def identity_of(source: Source) -> str:
    """The identity of a whole split, independent of its location: a SHA-256."""
    origins = [source.origin(index) for index in range(len(source))]
    of_file = _of_files(origins, moved_counts=False)
    digest = hashlib.sha256(f"{source.info.name} {source.info.version}".encode())
    for index, origin in enumerate(origins):
        name = f"\n{source.annotation(index).id} " if not isinstance(origin, str) else "\n"
        digest.update((name + _of_origin(origin, of_file)).encode())
    return digest.hexdigest()


def _of_origin(origin: Sequence[str] | str, of_file: dict[str, str]) -> str:
    return origin if isinstance(origin, str) else " ".join(of_file[path] for path in origin)


def _of_files(origins: Iterable[Sequence[str] | str], *, moved_counts: bool) -> dict[str, str]:
    """Identity of each file by its path.

    Args:
      origins: See `Source.origin`.
      moved_counts: Whether a copy of a large data set has another identity.
    """
    paths = dict.fromkeys(p for origin in origins if not isinstance(origin, str) for p in origin)
    statuses = {path: status_of(path) for path in paths}
    existing = {path: status for path, status in statuses.items() if status is not None}
    if sum(size for size, _, _ in existing.values()) <= READ_FIRST:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            contents = pool.map(_content, existing, existing.values())
            named = dict(zip(existing, contents, strict=True))
    else:
        named = {
            path: f"{size} {content} {anything}" if moved_counts else f"{size} {content}"
            for path, (size, content, anything) in existing.items()
        }
    return {path: named.get(path, _MISSING) for path in paths}


def status_of(path: str) -> tuple[int, int, int] | None:
    """Size in bytes, modification time and change time in nanoseconds of a file; None if it is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return None  # reading it will raise
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@functools.lru_cache(maxsize=1 << 20)
def _content(path: str, status: tuple[int, int, int]) -> str:
    """SHA-256 of a file; cached by its status."""
    del status
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError:
        return _MISSING

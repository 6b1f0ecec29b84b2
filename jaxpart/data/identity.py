"""Content identities of images, to notice when the content behind a name has changed.

Files of up to `READ_FIRST` bytes in total are hashed. Larger data sets would take minutes, so sizes and
modification times are used instead; for cached features also the inode change time, which users cannot set.
A file that was only touched or copied then counts as changed; a changed file never counts as unchanged.
"""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import itertools
import os
from collections.abc import Iterable, Sequence

from jaxpart.data.source import Source

READ_FIRST = 4 << 30
COMPARED = 1 << 17
"""Limit in images for comparisons that look at every file when a data set is opened."""
_MISSING = "missing"


def identities(source: Source, indices: Sequence[int]) -> list[str]:
    """The identities of some images with their label maps; each file is read once.

    Args:
      source: The data set.
      indices: Indices of images; they may repeat.
    """
    origins = {index: source.origin(index) for index in dict.fromkeys(indices)}
    file_identity = _file_identities(origins.values(), use_change_time=True)
    return [_origin_identity(origins[index], file_identity) for index in indices]


def identity_of(source: Source) -> str:
    """The identity of a whole split, independent of its location: a SHA-256."""
    origins = [source.origin(index) for index in range(len(source))]
    file_identity = _file_identities(origins, use_change_time=False)
    digest = hashlib.sha256(f"{source.info.name} {source.info.version}".encode())
    for index, origin in enumerate(origins):
        name = f"\n{source.annotation(index).id} " if not isinstance(origin, str) else "\n"
        text = name + _origin_identity(origin, file_identity)
        digest.update(text.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def common_images(train: Source, test: Source) -> int:
    """Number of images of `test` that are also in `train`: the same file or a copy, under any name.

    Images without files of their own are the same if version, origin and id are; splits that begin with
    different ones have none in common. More images in all than `COMPARED` are not compared: 0.
    """
    if len(train) + len(test) > COMPARED:
        return 0
    if isinstance(train.origin(0), str) and (
        train.info.version != test.info.version or train.annotation(0).id != test.annotation(0).id
    ):  # ids of all would have to be read or drawn
        return 0
    pictures = [[_picture(source, i) for i in range(len(source))] for source in (train, test)]
    file_identity = _file_identities(itertools.chain(*pictures), use_change_time=True)
    known, found = (
        [_origin_identity(origin, file_identity) for origin in origins] for origins in pictures
    )
    shared = set(known) - {_MISSING}
    return sum(identity in shared for identity in found)


def _picture(source: Source, index: int) -> Sequence[str] | str:
    """The file of an image without those of its label maps, or what identifies it."""
    origin = source.origin(index)
    if isinstance(origin, str):
        return f"{origin} {source.annotation(index).id}"
    return origin[:1]


def _origin_identity(origin: Sequence[str] | str, file_identity: dict[str, str]) -> str:
    return origin if isinstance(origin, str) else " ".join(file_identity[path] for path in origin)


def _file_identities(
    origins: Iterable[Sequence[str] | str], *, use_change_time: bool
) -> dict[str, str]:
    """Identity of each file by its path.

    Args:
      origins: See `Source.origin`.
      use_change_time: Whether the inode change time counts, so that a copy of a large data set has a
        different identity.
    """
    paths = dict.fromkeys(p for origin in origins if not isinstance(origin, str) for p in origin)
    statuses = {path: status_of(path) for path in paths}
    existing = {path: status for path, status in statuses.items() if status is not None}
    if sum(size for size, _, _ in existing.values()) <= READ_FIRST:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            contents = pool.map(_content, existing, existing.values())
            identity_of_path = dict(zip(existing, contents, strict=True))
    else:
        identity_of_path = {
            path: f"{size} {modified} {changed}" if use_change_time else f"{size} {modified}"
            for path, (size, modified, changed) in existing.items()
        }
    return {path: identity_of_path.get(path, _MISSING) for path in paths}


def status_of(path: str) -> tuple[int, int, int] | None:
    """Size in bytes, modification time and change time in nanoseconds of a file; None if it is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return None  # reading the file will raise
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

"""Files that are there whole or not at all.

What is being written has a temporary name beside its own, and its writer holds a lock on it, which the
system lets go of however the writer ends. So what a killed process has left is told from what another
one is at, and the next that writes the same file, or looks into the folder, removes it.

In a bucket (gs://…) it is `jaxpart.io.buckets` that sees to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import io
import json
import math
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxpart.errors import JaxpartError

CHECKSUM = "checksum"
"""Field of a JSON document: SHA-256 of all its others."""

_BUCKET = "gs://"


def path_of(path: str | os.PathLike[str]) -> pathlib.Path:
    """A path as a user names it: on a disk, or in a bucket of Google Cloud, gs://BUCKET/….

    Raises:
      JaxpartError: It is of another kind, names no bucket, or what reads buckets is not installed.
    """
    text = os.fspath(path)
    if text.startswith(_BUCKET):
        from jaxpart.io.buckets import bucket_path  # needs packages that are not everybody's

        return bucket_path(text)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise JaxpartError(
            f"{text} cannot be read or written; name a path on a disk, or gs://BUCKET/FOLDER of Google "
            f"Cloud Storage"
        )
    return pathlib.Path(path)


def on_disk(path: str | os.PathLike[str], what: str) -> pathlib.Path:
    """A path as a user names it that has to be on a disk.

    Args:
      path: It.
      what: What it is of, for the message.

    Raises:
      JaxpartError: It is in a bucket, or see `path_of`.
    """
    if in_bucket(path):
        raise JaxpartError(f"{what} cannot be in a bucket ({path}); name one on a disk")
    return path_of(path)


def in_bucket(path: str | os.PathLike[str]) -> bool:
    """Whether a path is in a bucket."""
    return os.fspath(path).startswith(_BUCKET)


def user_cache() -> pathlib.Path:
    """jaxpart's folder among the user's caches; it may not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "jaxpart"


def remove_left(folder: pathlib.Path, name: str | None = None) -> None:
    """Removes what killed processes have begun to write as a file or folder of that name, or of any.

    Where the file system knows no locks, nothing is removed. In a bucket it is the folder of that name
    that is removed, if its writer has not said that it is whole.
    """
    if in_bucket(folder):
        from jaxpart.io import buckets

        if name is not None:
            with contextlib.suppress(OSError):
                buckets.remove_left(folder / name)
        return
    pattern = "*" if name is None else glob.escape(name)
    for left in folder.glob(f".{pattern}.writing-*"):
        with contextlib.suppress(OSError), _lock(left):
            _remove(left)


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a compressed `.npz` file."""
    file = io.BytesIO()
    np.savez_compressed(file, **dict[str, Any](arrays))
    return file.getvalue()


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
    """Holds the lock of a file or folder. Raises `OSError` if another process does, or there are none."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _temporary_name(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.writing-{os.urandom(4).hex()}")


@contextlib.contextmanager
def _temporary(path: pathlib.Path, make: Callable[[pathlib.Path], None]) -> Iterator[pathlib.Path]:
    """What is made beside `path` under a name of its own, until it is moved; else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left(path.parent, path.name)
    temporary = _temporary_name(path)
    try:
        make(temporary)
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                stack.enter_context(_lock(temporary))
            yield temporary
    finally:
        _remove(temporary)


@contextlib.contextmanager
def moved_into_place(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty temporary file beside `path` to write to, which takes its place if nothing is raised.

    Raises:
      OSError: It cannot be written.
    """
    if in_bucket(path):
        from jaxpart.io.buckets import written_object

        with written_object(path) as temporary:
            yield temporary
        return
    with _temporary(path, lambda temporary: temporary.touch(exist_ok=False)) as temporary:
        yield temporary
        os.replace(temporary, path)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """As `moved_into_place`.

    Raises:
      JaxpartError: It cannot be written.
    """
    try:
        with moved_into_place(path) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or str(error)
        raise JaxpartError(f"{path} cannot be written: {reason}") from error


def write_safetensors(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes a .safetensors file, which appears whole or not at all; the same content, the same bytes.

    The library's own order of the metadata is another every time.

    Raises:
      JaxpartError: It cannot be written.
    """
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    packed = memoryview(save(whole, dict(metadata)))
    start = 8 + int.from_bytes(packed[:8], "little")
    header = json.loads(bytes(packed[8:start]))
    text = json.dumps(header, ensure_ascii=False, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of 8 bytes
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        file.write(packed[start:])


def to_json(document: Any, *, indent: int | None = 1) -> str:
    """A document as JSON. JSON has no NaN: a number that is none, or infinite, is null there."""
    return json.dumps(_finite(document), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def from_json(number: float | None) -> float:
    """A number that `to_json` wrote: null is NaN."""
    return math.nan if number is None else number


def checksum_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON document without its checksum, whatever its whitespace and order."""
    rest = {str(key): value for key, value in document.items() if key != CHECKSUM}
    plain = json.loads(to_json(rest, indent=None))  # tuples are lists there, and keys text
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def sealed_json(document: Mapping[str, Any]) -> str:
    """A document as JSON with its checksum, which `parse_json` looks at."""
    return to_json({**document, CHECKSUM: checksum_of(document)}) + "\n"


def parse_json(text: str | bytes) -> dict[str, Any]:
    """A document without its checksum, which must be right if there is one: older files have none.

    Raises:
      ValueError: It is not a JSON object, or was modified after it was written.
    """
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    if CHECKSUM in document:
        changed = document.pop(CHECKSUM) != checksum_of(document)
    else:
        last = next(reversed(document), "")
        rest = {key: value for key, value in document.items() if key != last}
        changed = bool(document) and document[last] == checksum_of(rest)  # it lost its name
    if changed:
        raise ValueError("it was modified after it was written")
    return document


def write_json(path: pathlib.Path, document: Mapping[str, Any]) -> None:
    """Writes a document, see `sealed_json`. Raises `JaxpartError` if the file cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(sealed_json(document), encoding="utf-8")


@contextlib.contextmanager
def folder_moved_into_place(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """A fresh folder beside `out`, which takes its place if nothing is raised; else `out` stays.

    Raises:
      OSError: It cannot be written.
    """
    if in_bucket(out):
        from jaxpart.io.buckets import written_folder

        with written_folder(out) as folder:
            yield folder
        return
    old = out.with_name(f".{out.name}.replaced")
    with _temporary(out, lambda temporary: temporary.mkdir()) as folder:
        _settle(out, old)  # a process was killed between the two moves below, or after them
        try:
            yield folder
            if out.exists():
                os.replace(out, old)
            os.replace(folder, out)
        finally:
            _settle(out, old)


def _settle(out: pathlib.Path, old: pathlib.Path) -> None:
    """Gives the old folder its place back, or removes it if the new one is there."""
    if old.exists():
        if out.exists():
            _remove(old)
        else:
            os.replace(old, out)


def remove_folder(folder: pathlib.Path) -> None:
    """Removes a folder if it exists. It is renamed first: nobody ever reads one that is half removed.

    What a killed process has not removed is left to the next call, or to `remove_left`.
    """
    if in_bucket(folder):
        from jaxpart.io.buckets import remove

        with contextlib.suppress(OSError):
            remove(folder)
        return
    aside = _temporary_name(folder)
    with contextlib.suppress(OSError):
        os.replace(folder, aside)
        _remove(aside)
    remove_left(folder.parent, folder.name)


def write_folder(out: pathlib.Path, write: Callable[[pathlib.Path], None]) -> None:
    """Lets `write` fill a folder, which takes the place of `out`, whole or not at all.

    Raises:
      JaxpartError: It cannot be written.
    """
    try:
        with folder_moved_into_place(out) as folder:
            write(folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise JaxpartError(f"{out} cannot be written: {reason}") from error

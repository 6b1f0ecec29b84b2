"""Atomic writes of files and folders.

They are written under a temporary name beside the final one, and the writer holds a lock, which the
operating system releases when the writer ends. So leftovers of a killed process can be distinguished from
the work of a live one, and are removed by the next process that writes the same file or reads the folder.

For buckets (gs://…, s3://…) see `jaxpart.io.buckets`.
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

from jaxpart.errors import JaxpartError, first_line

CHECKSUM = "checksum"
"""Field of a JSON document with the SHA-256 of all other fields."""

_BUCKETS = ("gs://", "s3://")


def path_of(path: str | os.PathLike[str]) -> pathlib.Path:
    """The user's path: on a disk, or in a bucket, gs://BUCKET/… or s3://BUCKET/….

    Raises:
      JaxpartError: It has another scheme, names no bucket, or the bucket's client is not installed.
    """
    text = os.fspath(path)
    if text.startswith(_BUCKETS):
        from jaxpart.io.buckets import bucket_path  # needs optional packages

        return bucket_path(text)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise JaxpartError(
            f"{text} cannot be read or written; name a path on a disk, or gs://BUCKET/FOLDER or "
            f"s3://BUCKET/FOLDER in a bucket"
        )
    return pathlib.Path(path)


def on_disk(path: str | os.PathLike[str], what: str) -> pathlib.Path:
    """The user's path, which must be on a disk.

    Raises:
      JaxpartError: It is in a bucket, or see `path_of`.
    """
    if in_bucket(path):
        raise JaxpartError(f"{what} cannot be in a bucket ({path}); name one on a disk")
    return path_of(path)


def in_bucket(path: str | os.PathLike[str]) -> bool:
    """Whether a path is in a bucket."""
    return os.fspath(path).startswith(_BUCKETS)


def user_cache() -> pathlib.Path:
    """jaxpart's folder in the user's cache; it may not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "jaxpart"


def remove_left(folder: pathlib.Path, name: str | None = None) -> None:
    """Removes temporary files and folders of killed processes, of that name or of any.

    Does nothing if the file system has no locks. In a bucket, removes incomplete folders of that name,
    or of any.
    """
    if in_bucket(folder):
        from jaxpart.io import buckets

        for leftover in folder.iterdir() if name is None else (folder / name,):
            with contextlib.suppress(OSError):
                buckets.remove_left(leftover)
        return
    pattern = "*" if name is None else glob.escape(name)
    for leftover in folder.glob(f".{pattern}.writing-*"):
        with contextlib.suppress(OSError), _lock(leftover):
            _remove(leftover)


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a compressed `.npz` file."""
    file = io.BytesIO()
    np.savez_compressed(file, **dict[str, Any](arrays))
    return file.getvalue()


def is_at(path: pathlib.Path, descriptor: int) -> bool:
    """Whether a path still names an open file or folder."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[int]:
    """Locks a file or folder, and yields its descriptor.

    Raises:
      OSError: It is locked, or the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
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
    """A temporary file or folder beside `path`, removed at the end unless it was moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left(path.parent, path.name)
    while True:
        temporary = _temporary_name(path)
        try:
            make(temporary)
            with contextlib.ExitStack() as stack:
                try:
                    locked = stack.enter_context(_lock(temporary))
                except (BlockingIOError, FileNotFoundError):
                    continue  # `remove_left` of another process was faster than the lock
                except OSError:
                    locked = None  # the file system has no locks
                if locked is None or is_at(temporary, locked):
                    yield temporary
                    return
        finally:
            _remove(temporary)


@contextlib.contextmanager
def moved_into_place(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty temporary file, which replaces `path` unless the body raises.

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
    """As `moved_into_place`, but raises `JaxpartError` if the file cannot be written."""
    try:
        with moved_into_place(path) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or str(error)
        raise JaxpartError(f"{path} cannot be written: {reason}") from error


def write_safetensors(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes a .safetensors file atomically and deterministically.

    The library writes the metadata in random order, so we rewrite the header.

    Raises:
      JaxpartError: It cannot be written.
    """
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    packed = memoryview(save(contiguous, dict(metadata)))
    start = 8 + int.from_bytes(packed[:8], "little")
    header = json.loads(bytes(packed[8:start]))
    text = json.dumps(header, ensure_ascii=False, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of 8 bytes
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        file.write(packed[start:])


def to_json(document: Any, *, indent: int | None = 1) -> str:
    """A document as JSON, with null for NaN and infinite numbers."""
    text = json.dumps(_finite(document), indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode()  # file names may be any bytes


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def from_json(number: float | None) -> float:
    """A number written by `to_json`: NaN for null."""
    return math.nan if number is None else number


def checksum_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON document without its checksum, independent of whitespace and order."""
    rest = {str(key): value for key, value in document.items() if key != CHECKSUM}
    plain = json.loads(to_json(rest, indent=None))  # tuples become lists, keys become strings
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def sealed_json(document: Mapping[str, Any]) -> str:
    """A document as JSON with its checksum, which `parse_json` verifies."""
    return to_json({**document, CHECKSUM: checksum_of(document)}) + "\n"


def parse_json(text: str | bytes) -> dict[str, Any]:
    """A document without its checksum, which is verified; older files have none.

    Raises:
      ValueError: It is not a JSON object, or was modified after it was written.
    """
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    if CHECKSUM in document:
        changed = document.pop(CHECKSUM) != checksum_of(document)
    else:
        last = next(reversed(document), "")
        rest = {key: value for key, value in document.items() if key != last}
        changed = bool(document) and document[last] == checksum_of(rest)  # its key was changed
    if changed:
        raise ValueError("it was modified after it was written")
    return document


def write_json(path: pathlib.Path, document: Mapping[str, Any]) -> None:
    """Writes a document, see `sealed_json`. Raises `JaxpartError` if the file cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(sealed_json(document), encoding="utf-8")


def read_json(path: pathlib.Path, advice: str) -> dict[str, Any]:
    """Reads a document, see `parse_json`.

    Raises:
      JaxpartError: The file cannot be read, or is damaged.
    """
    try:
        return parse_json(path.read_bytes())
    except OSError as error:
        raise JaxpartError(f"{path} cannot be read ({error.strerror}); {advice}") from error
    except ValueError as error:
        raise JaxpartError(f"{path} is damaged ({error}); {advice}") from error


@contextlib.contextmanager
def folder_moved_into_place(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty temporary folder, which replaces `out` unless the body raises.

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
        _finish_replacing(out, old)  # in case a process was killed between or after the moves below
        try:
            yield folder
            if out.exists():
                os.replace(out, old)
            os.replace(folder, out)
        finally:
            _finish_replacing(out, old)


def _finish_replacing(out: pathlib.Path, old: pathlib.Path) -> None:
    """Removes the old folder if the new one exists; otherwise restores it."""
    if old.exists():
        if out.exists():
            _remove(old)
        else:
            os.replace(old, out)


@contextlib.contextmanager
def on_this_machine(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The folder itself if it is on a disk; a temporary copy if it is in a bucket.

    Raises:
      OSError: It cannot be copied.
    """
    if not in_bucket(folder):
        yield folder
        return
    from jaxpart.io.buckets import copied_folder

    with copied_folder(folder) as copy:
        yield copy


def remove_folder(folder: pathlib.Path) -> None:
    """Removes a folder if it exists; it is renamed first, so that no reader sees a partly removed one.

    If the process is killed, the next call, or `remove_left`, removes the rest.
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
    """Atomically replaces the folder `out` with one that `write` fills.

    Raises:
      JaxpartError: It cannot be written.
    """
    try:
        with folder_moved_into_place(out) as folder:
            write(folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise JaxpartError(f"{out} cannot be written: {reason}") from error

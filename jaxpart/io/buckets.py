"""Folders in buckets, gs://BUCKET/FOLDER and s3://BUCKET/FOLDER, with etils.epath and fsspec.

A bucket has no renaming, locks or appending, but objects are written atomically and immediately visible to
all processes. So a file is first written on this machine and then uploaded as one object; a folder
likewise, file by file in the order of creation, so that the file that marks it as complete comes last.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, cast

from etils.epath.gpath import PosixGPath

from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.files import moved_into_place, user_cache
from jaxpart.io.object_stores import ObjectStore, object_store

_WRITING = ".writing"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class BucketPath(PosixGPath):
    """A path in a bucket with the methods of `pathlib.Path`; errors are `OSError`."""

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.parts[2]

    @property
    def store(self) -> ObjectStore:
        """The object store that holds the bucket."""
        return object_store(self.parts[1])

    def absolute(self) -> BucketPath:
        """The path itself."""
        return self

    def resolve(self, strict: bool = False) -> BucketPath:
        """The path itself."""
        return self

    def exists(self) -> bool:
        """Whether it is an object, or a prefix of objects."""
        return self._kind() is not None

    def is_dir(self) -> bool:
        """Whether it is a prefix of objects."""
        return self._kind() == "folder"

    def is_file(self) -> bool:
        """Whether it is an object."""
        return self._kind() == "file"

    def _kind(self) -> str | None:
        """ "file", "folder" or None; the library returns None for any error, we only if it is missing."""
        with _read_errors(self):
            try:
                return "folder" if super().stat().is_directory else "file"
            except FileNotFoundError:
                return None

    def iterdir(self) -> Iterator[BucketPath]:
        """Its direct children; none if it is missing, since empty folders do not exist."""
        with _read_errors(self):
            try:
                return iter(list(super().iterdir()))
            except FileNotFoundError:
                return iter(())

    def glob(self, pattern: str) -> Iterator[BucketPath]:
        """The paths below it that match a pattern."""
        with _read_errors(self):
            return iter(list(super().glob(pattern)))

    def rglob(self, pattern: str) -> Iterator[BucketPath]:
        """All objects below it whose names match a pattern."""
        with _read_errors(self):
            names = self.store.files.find(str(self))
        objects = [type(self)(f"{self.parts[1]}://{name}") for name in names]
        return (path for path in objects if path.match(pattern))

    def read_bytes(self) -> bytes:
        """The content of an object."""
        with _as_os_error(self):
            return self.store.files.cat_file(str(self))

    def read_text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """The content of an object."""
        return self.read_bytes().decode(encoding or "utf-8", errors)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes an object."""
        with _as_os_error(self):
            super().unlink(missing_ok=missing_ok)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Does nothing: folders exist where objects do."""

    def rmdir(self) -> None:
        """Does nothing, as `mkdir`."""


def bucket_path(text: str) -> pathlib.Path:
    """The path gs://BUCKET/… or s3://BUCKET/…, typed as the `pathlib.Path` that it imitates.

    Raises:
      JaxpartError: It names no bucket, has a character that the clients treat as a wildcard, or its
        client is not installed.
    """
    if wildcards := sorted(set(text) & set("*?[]#")):
        raise JaxpartError(
            f"{text} has {' '.join(wildcards)}, which are wildcards in a bucket; choose another name"
        )
    path = BucketPath(text)
    if len(path.parts) < 3:
        raise JaxpartError(f"{text} names no bucket; write {path.parts[1]}://BUCKET/FOLDER")
    _ = path.store
    return cast(pathlib.Path, path)


@contextlib.contextmanager
def _as_os_error(path: pathlib.Path | BucketPath, *, writes: bool = False) -> Iterator[None]:
    """Turns the clients' exceptions into an `OSError` with a readable `strerror`.

    If the path is written, only its bucket can be missing.
    """
    bucket = cast(BucketPath, path).bucket
    try:
        yield
    except FileNotFoundError as error:
        missing = f"there is no bucket {bucket}" if writes else f"it is not in the bucket {bucket}"
        raise FileNotFoundError(errno.ENOENT, missing) from error
    except Exception as error:  # of several libraries
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise
        raise OSError(*_reason(bucket, cast(BucketPath, path).store, error)) from error


@contextlib.contextmanager
def _read_errors(path: BucketPath) -> Iterator[None]:
    """Raises `JaxpartError` for errors in methods that do not raise on a disk, such as `exists`."""
    try:
        with _as_os_error(path):
            yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise JaxpartError(f"{path} cannot be read: {error.strerror}") from error


def _reason(bucket: str, store: ObjectStore, error: Exception) -> tuple[int, str]:
    status = store.status(error) or 0
    if isinstance(error, (*store.cut, ConnectionError, TimeoutError)) or status >= 500:
        return errno.ECONNRESET, f"the bucket {bucket} does not answer ({type(error).__name__})"
    if isinstance(error, store.no_credentials):
        return (
            errno.EACCES,
            f"there are no credentials for the bucket {bucket} ({first_line(error)})",
        )
    if status in (401, 403):
        return errno.EACCES, f"permission for the bucket {bucket} is denied"
    return errno.EIO, f"the bucket {bucket} rejects the request ({first_line(error)})"


@contextlib.contextmanager
def _scratch(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """An unused local path of the same name; whatever is written there is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="jaxpart-") as parent:
        yield pathlib.Path(parent) / path.name


@contextlib.contextmanager
def written_object(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty local file, which is uploaded as an object unless the body raises.

    Raises:
      OSError: It cannot be written.
    """
    with _scratch(path) as file:
        file.touch()
        yield file
        upload(file, path)


def upload(file: pathlib.Path, path: pathlib.Path) -> None:
    """Uploads a local file as an object.

    Raises:
      OSError: It cannot be written.
    """
    with _as_os_error(path, writes=True):
        _files(path).put_file(str(file), str(path))


@contextlib.contextmanager
def written_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty local folder, which replaces the one in the bucket unless the body raises.

    During the upload a marker object exists, see `remove_left`. Files are uploaded in order of creation.

    Raises:
      OSError: It cannot be written.
    """
    with _scratch(path) as folder:
        folder.mkdir()
        yield folder
        files = [file for file in folder.rglob("*") if file.is_file()]
        marker = path / _WRITING
        with written_object(marker):
            pass
        _remove(path, keep=marker)
        for file in sorted(files, key=lambda file: file.stat().st_mtime_ns):
            upload(file, path / file.relative_to(folder).as_posix())
        marker.unlink()


@contextlib.contextmanager
def copied_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary local copy of a folder.

    Raises:
      OSError: It cannot be copied.
    """
    with _scratch(path) as folder:
        with _as_os_error(path):
            _files(path).get(str(path), str(folder), recursive=True)
        yield folder


def copies_of(path: pathlib.Path) -> pathlib.Path:
    """The local folder for copies of a folder's objects; it may not exist."""
    return user_cache().joinpath("buckets", *path.parts[1:])


def copy_missing(
    path: pathlib.Path, folder: pathlib.Path, patterns: Sequence[str] = ("*",)
) -> None:
    """Copies the objects of a folder that a local folder lacks; objects are assumed never to change.

    Raises:
      JaxpartError: The bucket cannot be read.
      OSError: An object cannot be read, or its copy cannot be written.
    """
    for source in path.iterdir():
        copy = folder / source.name
        if copy.exists() or not any(fnmatch.fnmatchcase(source.name, p) for p in patterns):
            continue
        deleted = contextlib.suppress(FileNotFoundError)  # by another process
        with deleted, moved_into_place(copy) as temporary, _as_os_error(path):
            _files(path).get_file(str(source), str(temporary))


def remove_left(path: pathlib.Path) -> None:
    """Removes an incomplete folder, left by a killed process.

    Raises:
      JaxpartError: The bucket cannot be read.
      OSError: It cannot be removed.
    """
    if (path / _WRITING).is_file():
        remove(path)


def remove(path: pathlib.Path) -> None:
    """Removes a folder if it exists, its top-level files first.

    Raises:
      OSError: It cannot be removed.
    """
    _remove(path, keep=path)


def _remove(path: pathlib.Path, *, keep: pathlib.Path) -> None:
    files = [file for file in path.rglob("*") if file != keep]
    top = [str(file) for file in files if file.parent == path]
    rest = [str(file) for file in files if file.parent != path]
    with _as_os_error(path):
        for names in filter(None, (top, rest)):
            _files(path).rm(names)


def _files(path: pathlib.Path) -> Any:
    return cast(BucketPath, path).store.files

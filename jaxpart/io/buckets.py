"""Folders in a bucket of Google Cloud Storage, gs://BUCKET/FOLDER, by etils.epath and gcsfs.

A bucket knows neither renaming nor locks nor appending; but an object is there whole or not at all, and
all processes see it from then on. So a file is made on this machine and then written as one object, and a
folder likewise, file by file in the order in which they were made: what says that it is whole comes last.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import functools
import logging
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, cast

from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.files import moved_into_place, user_cache

try:
    import aiohttp
    import fsspec
    import google.auth.exceptions
    import requests
    from etils.epath.gpath import PosixGPath
    from gcsfs.retry import HttpError
except ImportError as error:
    raise JaxpartError(
        f"paths that begin with gs:// need gcsfs, which is not installed: pip install 'jaxpart[gcs]' "
        f"({error})"
    ) from error

# What is listed once would not be looked at again, and other processes write meanwhile.
fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
# What fails is raised, and need not be logged with its stack trace too.
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)

_WRITING = ".writing"
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_CUT = (
    aiohttp.ClientError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    ConnectionError,
    TimeoutError,
)


class BucketPath(PosixGPath):
    """A path in a bucket, with the methods of `pathlib.Path`; what goes wrong is an `OSError`."""

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.parts[2]

    def absolute(self) -> BucketPath:
        """The path itself."""
        return self

    def resolve(self, strict: bool = False) -> BucketPath:
        """The path itself."""
        return self

    def exists(self) -> bool:
        """Whether it is an object, or objects are below it."""
        return self._kind() is not None

    def is_dir(self) -> bool:
        """Whether objects are below it."""
        return self._kind() == "folder"

    def is_file(self) -> bool:
        """Whether it is an object."""
        return self._kind() == "file"

    def _kind(self) -> str | None:
        """ "file", "folder" or None; the library takes all that fails for the latter."""
        with _seen(self):
            try:
                return "folder" if super().stat().is_directory else "file"
            except FileNotFoundError:
                return None

    def iterdir(self) -> Iterator[BucketPath]:
        """What is directly below it; nothing if it is missing, as an empty folder is."""
        with _seen(self):
            try:
                return iter(list(super().iterdir()))
            except FileNotFoundError:
                return iter(())

    def glob(self, pattern: str) -> Iterator[BucketPath]:
        """What is below it by such a name."""
        with _seen(self):
            return iter(list(super().glob(pattern)))

    def rglob(self, pattern: str) -> Iterator[BucketPath]:
        """Objects by such a name, however deep below it."""
        with _seen(self):
            found = [type(self)(f"gs://{name}") for name in _files().find(str(self))]
        return (path for path in found if path.match(pattern))

    def read_bytes(self) -> bytes:
        """The content of an object."""
        with _told(self.bucket):
            return _files().cat_file(str(self))

    def read_text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """The content of an object."""
        return self.read_bytes().decode(encoding or "utf-8", errors)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes an object."""
        with _told(self.bucket):
            super().unlink(missing_ok=missing_ok)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: folders are where objects are."""

    def rmdir(self) -> None:
        """Nothing, as `mkdir`."""


def bucket_path(text: str) -> pathlib.Path:
    """The path gs://BUCKET/…, used as a `pathlib.Path`, of which it is none.

    Raises:
      JaxpartError: It names no bucket.
    """
    path = BucketPath(text)
    if len(path.parts) < 3:
        raise JaxpartError(f"{text} names no bucket; write gs://BUCKET/FOLDER")
    return cast(pathlib.Path, path)


@functools.cache
def _files() -> Any:
    return fsspec.filesystem("gcs", finalize_on_close=True)  # the one that epath uses


@contextlib.contextmanager
def _told(bucket: str, *, writes: bool = False) -> Iterator[None]:
    """Turns whatever the libraries raise into an `OSError` whose `strerror` says what is wrong.

    Args:
      bucket: The bucket's name.
      writes: Whether a file is written, so that what is missing can only be the bucket.
    """
    try:
        yield
    except FileNotFoundError as error:
        missing = f"there is no bucket {bucket}" if writes else f"it is not in the bucket {bucket}"
        raise FileNotFoundError(errno.ENOENT, missing) from error
    except Exception as error:  # of four libraries
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise
        raise OSError(*_reason(bucket, error)) from error


@contextlib.contextmanager
def _seen(path: BucketPath) -> Iterator[None]:
    """Raises `JaxpartError` where a disk would just say no, so that nobody expects more."""
    try:
        with _told(path.bucket):
            yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise JaxpartError(f"{path} cannot be read: {error.strerror}") from error


def _reason(bucket: str, error: Exception) -> tuple[int, str]:
    code = str(error.code) if isinstance(error, HttpError) else ""
    if isinstance(error, _CUT) or code.startswith("5"):
        return errno.ECONNRESET, f"the bucket {bucket} does not answer ({type(error).__name__})"
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        return (
            errno.EACCES,
            f"there are no credentials for the bucket {bucket} ({first_line(error)})",
        )
    if code in ("401", "403") or str(error).startswith("Forbidden"):
        return errno.EACCES, f"permission for the bucket {bucket} is denied"
    return errno.EIO, f"the bucket {bucket} refuses it ({first_line(error)})"


@contextlib.contextmanager
def written_object(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty file on this machine, which is written as an object if nothing is raised.

    Raises:
      OSError: It cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="jaxpart-") as scratch:
        file = pathlib.Path(scratch) / path.name
        file.touch()
        yield file
        upload(file, path)


def upload(file: pathlib.Path, path: pathlib.Path) -> None:
    """Writes a file of this machine as an object.

    Raises:
      OSError: It cannot be written.
    """
    with _told(_bucket_of(path), writes=True):
        _files().put_file(str(file), str(path))


@contextlib.contextmanager
def written_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A fresh folder on this machine, which takes the place of one in the bucket if nothing is raised.

    While it does, an object in it says so, see `remove_left`. What was made last is written last.

    Raises:
      OSError: It cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="jaxpart-") as scratch:
        folder = pathlib.Path(scratch) / path.name
        folder.mkdir()
        yield folder
        files = [file for file in folder.rglob("*") if file.is_file()]
        mark = path / _WRITING
        with written_object(mark):
            pass
        _remove(path, spared=mark)
        for file in sorted(files, key=lambda file: file.stat().st_mtime_ns):
            upload(file, path / file.relative_to(folder).as_posix())
        mark.unlink()


def copies_of(path: pathlib.Path) -> pathlib.Path:
    """Where this machine keeps copies of a folder's objects; it may not exist."""
    return user_cache().joinpath("buckets", *path.parts[2:])


def copy_missing(
    path: pathlib.Path, folder: pathlib.Path, patterns: Sequence[str] = ("*",)
) -> None:
    """Copies objects of a folder, which are never changed, into one of this machine that lacks them.

    Args:
      path: The folder in the bucket.
      folder: The one of this machine, which is made.
      patterns: Of their names.

    Raises:
      JaxpartError: The bucket cannot be read.
      OSError: An object cannot be read, or the copy not be written.
    """
    for source in path.iterdir():
        copy = folder / source.name
        if copy.exists() or not any(fnmatch.fnmatchcase(source.name, one) for one in patterns):
            continue
        gone = contextlib.suppress(FileNotFoundError)  # another process has removed it
        with gone, moved_into_place(copy) as temporary, _told(_bucket_of(path)):
            _files().get_file(str(source), str(temporary))


def remove_left(path: pathlib.Path) -> None:
    """Removes a folder that a killed process has begun to write.

    Raises:
      JaxpartError: The bucket cannot be read.
      OSError: It cannot be removed.
    """
    if (path / _WRITING).is_file():
        remove(path)


def remove(path: pathlib.Path) -> None:
    """Removes a folder if it exists, the files at its top first.

    Raises:
      OSError: It cannot be removed.
    """
    _remove(path, spared=path)


def _remove(path: pathlib.Path, *, spared: pathlib.Path) -> None:
    found = [file for file in path.rglob("*") if file != spared]
    top = [str(file) for file in found if file.parent == path]
    rest = [str(file) for file in found if file.parent != path]
    with _told(_bucket_of(path)):
        for names in filter(None, (top, rest)):
            _files().rm(names)


def _bucket_of(path: pathlib.Path) -> str:
    return cast(BucketPath, path).bucket

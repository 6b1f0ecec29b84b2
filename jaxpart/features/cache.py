"""The feature cache: in memory for one run, or on disk for all runs.

On disk, features are safetensors files of at most `SHARD_BYTES`. Each is written atomically
(`jaxpart.io.files`), and concurrent runs may write the same features safely. The header holds the address
of the features, the ids of the rows, and checksums; a file that does not match them is deleted, and its
rows are recomputed.

A cache in a bucket is read through local copies of its objects, which never change; only the main process
writes to it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import pathlib
import resource
import shutil
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from jaxpart.data.indexes import kept_document
from jaxpart.devices import is_main
from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.files import in_bucket, moved_into_place, path_of, remove_left, user_cache

FORMAT = "2"
SHARD_BYTES = 128 << 20
PRECISIONS = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
_CODES = {"F32": PRECISIONS["float32"], "BF16": PRECISIONS["bfloat16"]}
_SUFFIX = ".safetensors"
_LENGTH = struct.Struct("<Q")
_ADVICE = "make room there, or name another folder with --config.features.folder=FOLDER"


@dataclasses.dataclass(frozen=True)
class Shard:
    """Rows of some items.

    Attributes:
      ids: The item of each row, and an identifier of its image's contents.
      rows: [item, …], float32 or bfloat16; memory-mapped if read from disk.
    """

    ids: Sequence[str]
    rows: np.ndarray


class Cache:
    """A feature cache.

    Attributes:
      mode: "off" (no caching), "ram" (while the program runs) or "disk".
      folder: Where files go, in mode "disk"; may be in a bucket.
    """

    def __init__(self, mode: str, folder: str | pathlib.Path = "") -> None:
        """Opens nothing yet.

        The folder is by default "features" in `user_cache`.
        """
        self.mode = mode
        self.folder = path_of(folder or user_cache() / "features")
        self._kept: dict[str, list[Shard]] = {}

    def read(self, address: Mapping[str, str]) -> tuple[list[Shard], list[str]]:
        """Everything stored under an address, and a message for each damaged file.

        Raises:
          JaxpartError: The folder cannot be read.
        """
        if self.mode == "disk":
            return self._files(address).read()
        return list(self._kept.get(_text(address), [])), []

    def write(self, address: Mapping[str, str], shard: Shard) -> Shard:
        """Stores rows; returns them as stored.

        Raises:
          JaxpartError: A file cannot be written, as on a full disk.
        """
        if self.mode == "disk":
            return self._files(address).write(shard)
        if self.mode == "ram":
            self._kept.setdefault(_text(address), []).append(shard)
        return shard

    def _files(self, address: Mapping[str, str]) -> _Files:
        bucket = self.folder if in_bucket(self.folder) else None
        return _Files(self._local(), address, bucket)

    def _local(self) -> pathlib.Path:
        """The folder on this machine."""
        if not in_bucket(self.folder):
            return self.folder
        from jaxpart.io.buckets import copies_of

        return copies_of(self.folder)

    def free_bytes(self) -> int | None:
        """Bytes free where files go in mode "disk"; None if unknown."""
        folder = self._local().absolute()
        existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
        with contextlib.suppress(OSError):
            return shutil.disk_usage(existing).free
        return None

    def describe(self) -> str:
        """Its location and size, as text."""
        if self.mode != "disk":
            total = sum(shard.rows.nbytes for kept in self._kept.values() for shard in kept)
            return f"{size_text(total)} kept in memory" if self.mode == "ram" else "nothing kept"
        local = self._local()
        files = local.rglob(f"*{_SUFFIX}") if local.is_dir() else ()
        total = 0
        for path in files:
            with contextlib.suppress(OSError):  # another run may delete it
                total += path.stat().st_size
        return f"{size_text(total)} kept in {self.folder}"


@functools.cache
def open_cache(mode: str, folder: str) -> Cache:
    """The cache for a mode and folder, one per process, so that tasks share features in memory."""
    with contextlib.suppress(ValueError, OSError):  # every file of features stays open
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return Cache(mode, folder)


_DAMAGE = (
    ArithmeticError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RecursionError,
)
"""What reading a damaged file raises."""

_intact: set[tuple[Any, ...]] = set()
"""Versions of files whose checksum this or an earlier process has verified."""


class _Files:
    """The files of all features that share an address, in one folder."""

    def __init__(
        self, root: pathlib.Path, address: Mapping[str, str], bucket: pathlib.Path | None
    ) -> None:
        self._address = _text(address)
        name = hashlib.sha256(self._address.encode()).hexdigest()[:32]
        self._folder = root / name
        self._bucket = None if bucket is None else bucket / name

    def read(self) -> tuple[list[Shard], list[str]]:
        shards, complaints = [], []
        try:
            if self._bucket is not None:
                from jaxpart.io.buckets import copy_missing

                copy_missing(self._bucket, self._folder)
            paths = sorted(self._folder.glob(f"*{_SUFFIX}")) if self._folder.is_dir() else []
            remove_left(self._folder)
        except OSError as error:
            raise self._failed("read", error) from error
        with concurrent.futures.ThreadPoolExecutor() as pool:  # checksums take time
            opened = [pool.submit(self._open, path) for path in paths]
        for path, result in zip(paths, opened, strict=True):
            try:
                shards.append(result.result())
            except FileNotFoundError:
                continue  # another run found it damaged and deleted it
            except OSError as error:  # the system's error, not damage of the file
                raise self._failed("read", error) from error
            except _DAMAGE as error:
                with contextlib.suppress(OSError):
                    path.unlink()
                if (shard := self._copied_again(path)) is not None:
                    shards.append(shard)
                    continue
                reason = first_line(error)[:120]
                complaints.append(
                    f"cached features {path} are damaged ({reason}): recomputing them"
                )
        return shards, complaints

    def _copied_again(self, path: pathlib.Path) -> Shard | None:
        """A fresh copy from the bucket in place of a damaged one; a damaged object is deleted."""
        if self._bucket is None:
            return None
        from jaxpart.io.buckets import copy_missing

        try:
            copy_missing(self._bucket, self._folder)
            return self._open(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed("read", error) from error
        except _DAMAGE:
            with contextlib.suppress(OSError):
                path.unlink()
                if is_main():
                    (self._bucket / path.name).unlink(missing_ok=True)
            return None

    def _open(self, path: pathlib.Path) -> Shard:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            size = state.st_size
            start = file.read(_LENGTH.size)
            if len(start) < _LENGTH.size or (length := _LENGTH.unpack(start)[0]) > size:
                raise ValueError("it is truncated")
            header = json.loads(file.read(length))
            about, tensor = header["__metadata__"], header["features"]
            if about["address"] != self._address:
                raise ValueError("it holds other features")
            if about["ids_crc32"] != _crc(about["ids"].encode()):
                raise ValueError("its ids were changed")
            ids, shape = json.loads(about["ids"]), tuple(tensor["shape"])
            if type(ids) is not list or any(type(name) is not str for name in ids):
                raise ValueError("its ids are not strings")
            rows = np.memmap(file, _CODES[tensor["dtype"]], "r", _LENGTH.size + length, shape)
        if rows.nbytes + _LENGTH.size + length != size or len(ids) != len(rows):
            raise ValueError("its shape does not fit its size")
        checksum = about["rows_crc32"]
        # Modifying or replacing a file changes one of these.
        version = path, state.st_ino, state.st_mtime_ns, state.st_ctime_ns, size, checksum
        if version not in _intact:

            def check() -> bool:
                if checksum != _crc(rows.view(np.uint8).reshape(-1)):
                    raise ValueError("its rows were changed")
                return True

            kept_document(f"features without damage {version}", check)
            _intact.add(version)
        return Shard(ids, rows)

    def write(self, shard: Shard) -> Shard:
        ids = json.dumps(list(shard.ids))
        rows = np.ascontiguousarray(shard.rows)
        raw = rows.view(np.uint8).reshape(-1)
        header = {
            "__metadata__": {
                "address": self._address,
                "ids": ids,
                "ids_crc32": _crc(ids.encode()),
                "rows_crc32": _crc(raw),
            },
            "features": {
                "dtype": next(code for code, dtype in _CODES.items() if dtype == rows.dtype),
                "shape": rows.shape,
                "data_offsets": [0, rows.nbytes],
            },
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 64 + 56)  # rows start at a multiple of 64
        name = hashlib.sha256(ids.encode()).hexdigest()[:32]
        path = self._folder / f"{name}{_SUFFIX}"
        try:
            with moved_into_place(path) as temporary:
                if (free := shutil.disk_usage(self._folder).free) < len(text) + rows.nbytes:
                    needed = size_text(len(text) + rows.nbytes)
                    raise OSError(errno.ENOSPC, f"{needed} are needed and {size_text(free)} free")
                with temporary.open("wb") as file:
                    file.write(_LENGTH.pack(len(text)) + text)
                    file.write(raw.data)
            if self._bucket is not None and is_main():
                from jaxpart.io.buckets import upload

                upload(path, self._bucket / path.name)
            return self._open(path)
        except OSError as error:
            raise self._failed("written", error) from error

    def _failed(self, done: str, error: OSError) -> JaxpartError:
        folder = self._bucket or self._folder
        return JaxpartError(
            f"the feature cache {folder} cannot be {done} ({error.strerror}); {_ADVICE}"
        )


def _text(address: Mapping[str, str]) -> str:
    return json.dumps({"format": FORMAT, **address}, sort_keys=True)


def _crc(data: Any) -> str:
    return f"{zlib.crc32(data):08x}"


def size_text(count: int) -> str:
    """A number of bytes as text, in MiB or GiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"

"""Downloads of data sets that need no registration: resumable, verified and safely unpacked."""

from __future__ import annotations

import dataclasses
import gzip
import os
import pathlib
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import IO

from jaxpart.data.folders import LONGEST_NAME
from jaxpart.data.locking import locked
from jaxpart.errors import JaxpartError
from jaxpart.io.download import RemoteFile, fetch
from jaxpart.runs.progress import Progress

_CHUNK = 1 << 20
_ENCRYPTED = 1
_ALLOWANCE, _RATIO = 64 << 20, 100
"""A zip file may unpack to `_ALLOWANCE` bytes plus `_RATIO` times its size. Ours hold images, which do not
compress, and JSON, which compresses about tenfold."""
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error),
)
"""What zipfile and tarfile raise for damaged archives and unknown compression methods."""
_CLASHES = (FileExistsError, NotADirectoryError, IsADirectoryError)
"""Raised where an archive has a file and a folder of the same name."""


@dataclasses.dataclass(frozen=True)
class Archive:
    """A file to fetch and unpack.

    Attributes:
      url: Where it is.
      sha256: Its published SHA-256 in hexadecimal, or "" where none is published.
      members: Top-level folders and files to unpack; others are skipped.
      into: Folder below the output to unpack into.
    """

    url: str
    sha256: str
    members: tuple[str, ...]
    into: str = ""

    @property
    def file(self) -> RemoteFile:
        """The file to fetch."""
        return RemoteFile(self.url, self.sha256)


_CHALLENGE = Archive(
    "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
    "",
    ("ADEChallengeData2016",),
)

ARCHIVES: Mapping[str, tuple[Archive, ...]] = {
    "cub_parts": (
        Archive(
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
            "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
            ("CUB_200_2011",),
        ),
    ),
    "coco_person_parts": (
        Archive(
            "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
            "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
            ("annotations",),
            "coco",
        ),
        Archive(
            "http://images.cocodataset.org/zips/val2017.zip",
            "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            ("val2017",),
            "coco",
        ),
        Archive(
            "http://images.cocodataset.org/zips/train2017.zip",
            "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            ("train2017",),
            "coco",
        ),
    ),
    "ade20k": (_CHALLENGE,),
    "ade20k_object": (_CHALLENGE,),
}
"""The archives of each data set, with the checksums that tensorflow-datasets lists. None is published for
ADEChallengeData2016.zip, so only its CRC-32s are checked."""


def download(archives: tuple[Archive, ...], out: str | pathlib.Path) -> list[pathlib.Path]:
    """Downloads and unpacks archives in order, except those that are already unpacked.

    Args:
      archives: See `ARCHIVES`.
      out: The folder to unpack into. An interrupted download stays there as FILE.part; the next call
        resumes it.

    Returns:
      The unpacked folders, old and new.

    Raises:
      JaxpartError: Another process is downloading to `out`, the network or the server fails, the disk is
        full or read-only; or the archive has the wrong checksum, is damaged, encrypted or a different one,
        has paths outside its folder, or unpacks to too many bytes (it is then removed).
    """
    out = pathlib.Path(out)
    progress = Progress()
    folders = []
    with locked(out / ".download.lock", f"downloading to {out}"):
        for archive in archives:
            targets = [out / archive.into / member for member in archive.members]
            if not all(target.exists() for target in targets):
                try:
                    (out / archive.into).mkdir(parents=True, exist_ok=True)
                    file = fetch(archive.file, out, progress)
                    size = file.stat().st_size
                    with progress.bar(f"{archive.file.name}: unpacking", size) as advance:
                        _unpack(file, archive, out / archive.into, advance)
                    file.unlink()
                except OSError as error:
                    raise JaxpartError(f"{out} cannot be written: {error.strerror}") from error
            folders += targets
    return folders


def _unpack(
    file: pathlib.Path, archive: Archive, into: pathlib.Path, advance: Callable[[int], None]
) -> None:
    """Unpacks to a temporary folder and then moves the members, so that none is ever incomplete.

    `advance` is called with the number of bytes of the archive just processed.
    """
    temporary = into / f".unpacking-{archive.file.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        try:
            unpack = _untar if file.suffix == ".tgz" else _unzip
            unpack(file, archive.members, temporary, advance)
        except (*_DAMAGED, *_CLASHES) as error:
            raise JaxpartError(f"it is damaged ({error})") from error
        for member in archive.members:
            if not (temporary / member).exists():
                raise JaxpartError(f"it does not contain {member}, so it is a different archive")
        for member in archive.members:
            if not (into / member).exists():
                os.replace(temporary / member, into / member)
    except JaxpartError as error:
        file.unlink()
        raise JaxpartError(f"{file} was rejected and removed: {error}; try again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unzip(
    file: pathlib.Path,
    members: tuple[str, ...],
    target: pathlib.Path,
    advance: Callable[[int], None],
) -> None:
    budget = _ALLOWANCE + _RATIO * file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            advance(entry.compress_size)
            path = _inside(entry.filename, members, target)
            mode = entry.external_attr >> 16
            if path is None:
                continue
            if entry.flag_bits & _ENCRYPTED:
                raise JaxpartError(f"{entry.filename} in it is encrypted")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise JaxpartError(
                    f"{entry.filename} in it is compressed by method {entry.compress_type}"
                )
            budget -= entry.file_size
            if budget < 0:
                raise JaxpartError(f"it unpacks to more than {_RATIO} times its size")
            if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or not stat.S_IFMT(mode)):
                raise JaxpartError(f"{entry.filename} in it is not a regular file")
            if entry.is_dir():
                path.mkdir(parents=True, exist_ok=True)
            else:
                with archive.open(entry) as source:
                    _save(source, path)


def _untar(
    file: pathlib.Path,
    members: tuple[str, ...],
    target: pathlib.Path,
    advance: Callable[[int], None],
) -> None:
    """Unpacks a .tgz file. Ours has a published SHA-256, so its contents are known."""
    position = 0
    with file.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:gz") as archive:
        for entry in archive:
            advance(stream.tell() - position)
            position = stream.tell()
            if entry.name.split("/")[0] in members:
                archive.extract(entry, target, filter="data")


def _inside(name: str, members: tuple[str, ...], target: pathlib.Path) -> pathlib.Path | None:
    """The path of a zip file's member, or None if it is not in `members`.

    Raises:
      JaxpartError: The path leads out of the folder.
    """
    path = pathlib.PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise JaxpartError(f"{name!r} in it points outside its folder")
    if "\0" in name or any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
        raise JaxpartError(f"{name[:40]!r}… in it is not a file name")
    is_member = bool(path.parts) and path.parts[0] in members
    return target.joinpath(*path.parts) if is_member else None


def _save(source: IO[bytes], path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)

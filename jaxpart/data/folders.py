"""Listing and reading the files of a data set's folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxpart.data.images import IMAGE_SUFFIXES
from jaxpart.errors import JaxpartError, printable
from jaxpart.io.text import text_lines

LABEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm")
"""Suffixes of label maps, case-insensitive: lossless formats."""

_OTHER_PICTURES = (
    ".heic", ".heif", ".jxl", ".svg", ".eps", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw",
)  # fmt: skip
_JUNK = ("__MACOSX", "@eaDir", "lost+found")
"""Folders that operating systems and archivers create."""


class NotThere(JaxpartError):
    """A data set or one of its splits is missing from the folder, rather than damaged."""


class NoImages(JaxpartError):
    """A folder holds no image."""


LONGEST_NAME = 255
"""Limit for a file name, in bytes."""


def check_split(dataset: str, split: str, splits: Sequence[str]) -> None:
    """Raises `JaxpartError` if a data set has no such split."""
    if split not in splits:
        raise JaxpartError(f"{dataset} has no split {split!r}; choose {' or '.join(splits)}")


def read_file(path: pathlib.Path) -> bytes:
    """The bytes of a file. Raises `JaxpartError` naming it if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:  # a null byte, or half a surrogate pair
        raise JaxpartError(
            f"{printable(str(path), 200)} is not a valid file name ({error}); fix it"
        ) from error


def unreadable(path: pathlib.Path, error: OSError) -> JaxpartError:
    """The error for a file that cannot be read."""
    if os.path.islink(path) and not os.path.exists(path):
        return JaxpartError(
            f"{path} is a broken link to {os.readlink(path)}; fix or remove the link"
        )
    return JaxpartError(f"{printable(str(path), 1000)} cannot be read: {error.strerror}")


def unusable_name(name: str) -> str:
    """Why a listed name cannot be a file name, as a predicate ("is empty"); "" if it can."""
    if not name.strip():
        return "is empty"
    if "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
        return "has characters that are not allowed in file names"
    if max(len(part.encode()) for part in name.split("/")) > LONGEST_NAME:
        return "is too long for a file name"
    return ""


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC); macOS writes the decomposed one."""
    return unicodedata.normalize("NFC", name)


def read_lines(path: pathlib.Path) -> list[str]:
    """The lines of a text file. Raises `JaxpartError` naming it if it is empty or unreadable."""
    lines = text_lines(read_file(path), path)
    if not lines:
        raise JaxpartError(f"{path} is empty; unpack the data set again")
    return lines


def read_ids(path: pathlib.Path) -> list[str]:
    """The ids in a text file, one per line; blank lines are skipped.

    Raises:
      JaxpartError: The file cannot be read, lists nothing, or lists an id twice.
    """
    ids: dict[str, None] = {}
    for number, line in enumerate(read_lines(path), 1):
        key = composed(line.strip())
        if key in ids:
            raise JaxpartError(f"{path}, line {number}: the id {key!r} appears twice")
        if key:
            ids[key] = None
    if not ids:
        raise JaxpartError(f"{path} is an empty list; unpack the data set again")
    return list(ids)


def list_images(folder: pathlib.Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[str]:
    """The sorted names of the images in a folder; hidden and other files are skipped.

    Broken links are listed too; reading them raises.

    Raises:
      NotThere: The folder does not exist.
      NoImages: It holds no image.
      JaxpartError: It cannot be read, or holds an image in an unsupported format.
    """
    if not folder.exists():
        raise NotThere(f"{folder} is missing; unpack the data set there")
    names = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                suffix = os.path.splitext(entry.name)[1].lower()
                if entry.name.startswith(".") or entry.is_dir():
                    continue
                if suffix in suffixes:
                    names.append(entry.name)
                elif suffix in _OTHER_PICTURES and suffixes is IMAGE_SUFFIXES:
                    raise JaxpartError(
                        f"{folder / entry.name} is in an unsupported format; save it as JPEG or "
                        "PNG, or remove it"
                    )
    except OSError as error:
        raise JaxpartError(f"{folder} cannot be read: {error.strerror}") from error
    if not names:
        raise NoImages(
            f"{folder} holds no {'/'.join(suffixes[:3])} file; unpack the data set there"
        )
    return sorted(names)


def list_folders(folder: pathlib.Path) -> list[str]:
    """The sorted names of the folders in a folder, links included; hidden ones and loops are skipped."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                e.name
                for e in entries
                if not e.name.startswith(".")
                and e.name not in _JUNK
                and e.is_dir()
                and not (e.is_symlink() and _is_loop(folder, e.path))
            )
    except OSError as error:
        raise JaxpartError(f"{folder} cannot be read: {error.strerror}") from error


def _is_loop(folder: pathlib.Path, link: str) -> bool:
    """Whether a link in a folder points to the folder or one above it."""
    resolved = pathlib.Path(os.path.realpath(folder))
    return pathlib.Path(os.path.realpath(link)) in (resolved, *resolved.parents)


def walk_images(folder: pathlib.Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[str]:
    """The sorted relative paths of all images below a folder.

    Links to folders are followed, each folder once; a folder that also lies below keeps its own path.

    Raises:
      NotThere: The folder does not exist.
      NoImages: There is no image.
      JaxpartError: A folder cannot be read.
    """
    if not folder.is_dir():
        raise NotThere(f"{folder} is missing; unpack the data set there")
    paths: list[str] = []
    seen: set[str] = set()
    folders, links = [""], list[str]()
    while folders or links:
        subfolder = folders.pop() if folders else links.pop()
        real = os.path.realpath(folder / subfolder)
        if real in seen:
            continue
        seen.add(real)
        for name in list_folders(folder / subfolder):
            child = f"{subfolder}{name}/"
            (links if (folder / child).is_symlink() else folders).append(child)
        with contextlib.suppress(NoImages):
            paths += [f"{subfolder}{name}" for name in list_images(folder / subfolder, suffixes)]
    if not paths:
        raise NoImages(
            f"{folder} holds no {'/'.join(suffixes[:3])} file; unpack the data set there"
        )
    return sorted(paths)


def list_pairs(root: pathlib.Path, images: str, labels: str) -> list[tuple[str, str]]:
    """Relative paths of (image, label map) files with the same stem, sorted by stem.

    Args:
      root: The data set's folder.
      images: Its folder of images.
      labels: Its folder of label maps.

    Raises:
      JaxpartError: A folder is missing or empty, two files differ only in their suffix, or a file
        has no counterpart in the other folder.
    """
    image_of = by_stem(images, walk_images(root / images))
    label_of = by_stem(labels, walk_images(root / labels, LABEL_SUFFIXES))
    for stems, others, files, partners in (
        (image_of, label_of, images, labels),
        (label_of, image_of, labels, images),
    ):
        unpaired = [stem for stem in stems if stem not in others]
        if unpaired:
            raise JaxpartError(
                f"{root / stems[unpaired[0]]} has no counterpart in {partners} ({len(unpaired)} files "
                f"of {files} have none); unpack both again"
            )
    return [(image_of[stem], label_of[stem]) for stem in sorted(image_of)]


def by_stem(folder: str, names: Sequence[str]) -> dict[str, str]:
    """The path "folder/name" of each file by its stem.

    Raises:
      JaxpartError: Two names differ only in their suffix.
    """
    paths: dict[str, str] = {}
    for name in names:
        stem = composed(name.rpartition(".")[0])
        if stem in paths:
            raise JaxpartError(
                f"{paths[stem]} and {folder}/{name} have the same name except for the suffix; rename one"
            )
        paths[stem] = f"{folder}/{name}"
    return paths


def match_files(names: Sequence[str], existing: Sequence[str], where: object) -> list[str | None]:
    """Matches names in an annotation file to files, by full path or else without leading folders.

    Exporters write "images/0001.jpg", "./0001.jpg" or an absolute path on another machine, with slashes or
    backslashes, and names in either Unicode normal form. Windows and macOS ignore upper and lower case, so
    a file whose name differs in case alone matches too, if it is the only one.

    Args:
      names: The names in the annotation file.
      existing: Paths of the existing files, with "/".
      where: The annotation file, for error messages.

    Returns:
      The file of each name, None if none matches.

    Raises:
      JaxpartError: Two names match the same file.
    """
    path_of = {composed(path): path for path in existing}
    in_any_case: dict[str, str | None] = {}
    for path in existing:
        key = composed(path).casefold()
        in_any_case[key] = None if key in in_any_case else path

    def find(name: str) -> str | None:
        if composed(name) in path_of:
            return path_of[composed(name)]
        steps = [s for s in composed(name).replace("\\", "/").split("/") if s not in ("", ".")]
        for start in range(len(steps)):
            tail = "/".join(steps[start:])
            if tail in path_of:
                return path_of[tail]
            if tail.casefold() in in_any_case:
                return in_any_case[tail.casefold()]
        return None

    files = [find(name) for name in names]
    name_of: dict[str, str] = {}
    for name, file in zip(names, files, strict=True):
        if file is not None and name_of.setdefault(file, name) != name:
            raise JaxpartError(
                f"{where} lists {name_of[file]} and {name}, both of which are {file}"
            )
    return files


def named_files(folder: pathlib.Path, names: Sequence[str], where: object) -> list[str]:
    """The files below a folder that the names refer to, see `matched`."""
    return matched(names, existing_files(folder), where)


def matched(names: Sequence[str], existing: Sequence[str], where: object) -> list[str]:
    """Like `match_files`, but keeps unmatched names, which fail when they are read."""
    files = match_files(names, existing, where)
    return [file or name for file, name in zip(files, names, strict=True)]


def existing_files(folder: pathlib.Path) -> list[str]:
    """The sorted paths of the images below a folder, see `walk_images`; none if it does not exist."""
    try:
        return walk_images(folder)
    except (NotThere, NoImages):
        return []


class Stamp(NamedTuple):
    """A file's path below a folder, its size in bytes and modification time in nanoseconds."""

    name: str
    size: int
    time: int


def file_stamps(root: pathlib.Path, names: Iterable[str]) -> tuple[Stamp, ...]:
    """The stamps of files below `root`. Raises `JaxpartError` naming one that is missing."""
    stamps = []
    for name in names:
        try:
            status = (root / name).stat()
        except OSError as error:
            raise unreadable(root / name, error) from error
        stamps.append(Stamp(name, status.st_size, status.st_mtime_ns))
    return tuple(stamps)


def file_sizes(root: pathlib.Path, names: Iterable[str]) -> str:
    """Names and sizes of files below `root`, a fingerprint that needs no reading.

    Raises:
      JaxpartError: A file is missing.
    """
    return "\n".join(f"{stamp.name} {stamp.size}" for stamp in file_stamps(root, names))


def fingerprint(*parts: bytes | str) -> str:
    """The first 12 hex digits of the SHA-256 of all parts."""
    digest = hashlib.sha256()
    for part in parts:
        # File names may be any bytes.
        digest.update(part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part)
    return digest.hexdigest()[:12]

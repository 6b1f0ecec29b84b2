"""What the readers of official folders share."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jaxpart.errors import JaxpartError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
"""Endings of image files, in any case."""


class NotThere(JaxpartError):
    """A data set or one of its splits is not in the folder at all, rather than broken."""


def dataset_folder(
    root: str | pathlib.Path, name: str, needed: Sequence[str], advice: str
) -> pathlib.Path:
    """The data set's own folder, given itself or the folder that contains it.

    Args:
      root: What the user gave.
      name: Name of the folder in the official archive.
      needed: Files that must lie in it; the first tells it from other folders.
      advice: Where to get the data set, for the error.

    Raises:
      NotThere: One of `needed` is missing.
    """
    root = pathlib.Path(root)
    folder = next((f for f in (root, root / name) if (f / needed[0]).exists()), root)
    for file in needed:
        if not (folder / file).exists():
            raise NotThere(f"{folder} holds no {name}: {file} is missing; {advice}")
    return folder


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way in which a data set lies on a disk.

    Attributes:
      places: Where it may lie below what the user gave, which is itself tried first.
      marks: Paths in it that tell it from other layouts; one is enough.
      absent: A path that must not be in it.
    """

    places: tuple[str, ...]
    marks: tuple[str, ...]
    absent: str | None = None

    def folder(self, root: pathlib.Path) -> pathlib.Path | None:
        """The first place that looks like it."""
        for folder in (root, *(root / place for place in self.places)):
            if any((folder / mark).exists() for mark in self.marks) and not (
                self.absent and (folder / self.absent).exists()
            ):
                return folder
        return None


def find_layout(
    root: str | pathlib.Path, dataset: str, layouts: Mapping[str, Layout], advice: str
) -> tuple[str, pathlib.Path]:
    """(name of the layout, the data set's own folder) of the first layout found.

    Raises:
      NotThere: None is there.
    """
    root = pathlib.Path(root)
    for name, layout in layouts.items():
        folder = layout.folder(root)
        if folder is not None:
            return name, folder
    wanted = " or ".join(layout.marks[0] for layout in layouts.values())
    raise NotThere(f"{root} holds no {dataset}: {wanted} is missing; {advice}")


def check_split(dataset: str, split: str, splits: Sequence[str]) -> None:
    """Raises `JaxpartError` if a data set has no such split."""
    if split not in splits:
        raise JaxpartError(f"{dataset} has no split {split!r}; choose {' or '.join(splits)}")


def read_file(path: pathlib.Path) -> bytes:
    """The bytes of a file. Raises `JaxpartError` naming it if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise JaxpartError(f"{path} cannot be read: {error.strerror}") from error


def read_lines(path: pathlib.Path) -> list[str]:
    """The lines of a text file. Raises `JaxpartError` naming it if it is empty or unreadable."""
    try:
        lines = read_file(path).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise JaxpartError(f"{path} is not a text file; unpack the data set again") from error
    if not lines:
        raise JaxpartError(f"{path} is empty; unpack the data set again")
    return lines


def read_ids(path: pathlib.Path) -> list[str]:
    """The ids that a text file lists, one a line; blank lines are passed over.

    Raises:
      JaxpartError: The file cannot be read, lists nothing, or lists an id twice.
    """
    ids: dict[str, None] = {}
    for number, line in enumerate(read_lines(path), 1):
        key = line.strip()
        if key in ids:
            raise JaxpartError(f"{path}, line {number}: the id {key!r} stands there twice")
        if key:
            ids[key] = None
    if not ids:
        raise JaxpartError(f"{path} lists no image; unpack the data set again")
    return list(ids)


def list_images(folder: pathlib.Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[str]:
    """The sorted names of the images in a folder; hidden files and other kinds are passed over.

    Raises:
      NotThere: There is no such folder.
      JaxpartError: It cannot be read, or holds no image.
    """
    if not folder.exists():
        raise NotThere(f"{folder} is missing; unpack the data set there")
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _is_image(entry, suffixes)]
    except OSError as error:
        raise JaxpartError(f"{folder} cannot be read: {error.strerror}") from error
    if not names:
        raise JaxpartError(
            f"{folder} holds no {'/'.join(suffixes)} file; unpack the data set there"
        )
    return sorted(names)


def _is_image(entry: os.DirEntry[str], suffixes: Sequence[str]) -> bool:
    name = entry.name
    return not name.startswith(".") and name.lower().endswith(tuple(suffixes)) and entry.is_file()


def list_folders(folder: pathlib.Path) -> list[str]:
    """The sorted names of the folders in a folder, hidden ones left out."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise JaxpartError(f"{folder} cannot be read: {error.strerror}") from error


def list_pairs(root: pathlib.Path, images: str, labels: str) -> list[tuple[str, str]]:
    """Paths below `root` of (image, label map) files with the same name, sorted by name.

    Args:
      root: The data set's folder.
      images: The folder of images in it.
      labels: The folder of label maps in it, PNG files.

    Raises:
      JaxpartError: A folder is missing or empty, two images differ only in their suffix, or a file
        of either folder has no partner in the other.
    """
    image_of = by_stem(images, list_images(root / images))
    label_of = by_stem(labels, list_images(root / labels, (".png",)))
    for stems, others, files, partners in (
        (image_of, label_of, images, labels),
        (label_of, image_of, labels, images),
    ):
        alone = [stem for stem in stems if stem not in others]
        if alone:
            raise JaxpartError(
                f"{root / stems[alone[0]]} has no partner in {partners} ({len(alone)} files of {files} "
                f"have none); unpack both again"
            )
    return [(image_of[stem], label_of[stem]) for stem in sorted(image_of)]


def by_stem(folder: str, names: Sequence[str]) -> dict[str, str]:
    """Path "folder/name" of each file by its name without the suffix.

    Raises:
      JaxpartError: Two names differ only in their suffix.
    """
    paths: dict[str, str] = {}
    for name in names:
        stem = name.rpartition(".")[0]
        if stem in paths:
            raise JaxpartError(
                f"{paths[stem]} and {folder}/{name} have the same name but for the suffix; rename one"
            )
        paths[stem] = f"{folder}/{name}"
    return paths


class Stamp(NamedTuple):
    """A file below a folder, with what tells that it changed: size in bytes, time in nanoseconds."""

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
            raise JaxpartError(f"{root / name} cannot be read: {error.strerror}") from error
        stamps.append(Stamp(name, status.st_size, status.st_mtime_ns))
    return tuple(stamps)


def file_sizes(root: pathlib.Path, names: Iterable[str]) -> str:
    """Names and sizes of files below `root`, to fingerprint a folder without reading it all.

    Raises:
      JaxpartError: A file is missing.
    """
    return "\n".join(f"{stamp.name} {stamp.size}" for stamp in file_stamps(root, names))


def fingerprint(*parts: bytes | str) -> str:
    """A short name for what was read: the first 12 hex digits of its SHA-256."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:12]

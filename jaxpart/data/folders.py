"""What the readers of official folders share."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Sequence

from jaxpart.errors import JaxpartError


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
      JaxpartError: One of `needed` is missing.
    """
    root = pathlib.Path(root)
    folder = next((f for f in (root, root / name) if (f / needed[0]).exists()), root)
    for file in needed:
        if not (folder / file).exists():
            raise JaxpartError(f"{folder} holds no {name}: {file} is missing; {advice}")
    return folder


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


def fingerprint(*parts: bytes | str) -> str:
    """A short name for what was read: the first 12 hex digits of its SHA-256."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:12]

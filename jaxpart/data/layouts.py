"""Finds a data set's folder from a root, which is that folder or one above it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from jaxpart.data.folders import NotThere, list_folders
from jaxpart.errors import JaxpartError

_DEPTH = 4
_MAX_FOLDERS = 5000
"""Limits of the search for a data set: levels below the root, and number of folders."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """A folder structure of a data set.

    Attributes:
      places: Usual paths below the root, tried after the root itself.
      marks: Paths in it that identify it; one is enough.
      absent: A path that must not be in it.
      distinctive: Whether the marks identify it among all data sets, so that it is found in a folder of any
        name; otherwise only in one named like the last folder of a place.
    """

    places: tuple[str, ...]
    marks: tuple[str, ...]
    absent: str | None = None
    distinctive: bool = False

    def folder(self, root: pathlib.Path, dataset: str) -> pathlib.Path | None:
        """The root if it matches, else a matching usual path, else the only matching folder below; or None.

        Raises:
          JaxpartError: Several folders match.
        """
        if self._is(root):
            return root
        usual = [root / place for place in self.places if self._is(root / place)]
        if usual:
            return the_one(usual, root, dataset)
        names = {pathlib.PurePath(place).name.casefold() for place in self.places}
        return only_folder(
            root,
            lambda f: (self.distinctive or f.name.casefold() in names) and self._is(f),
            dataset,
        )

    def _is(self, folder: pathlib.Path) -> bool:
        return any(os.path.exists(folder / mark) for mark in self.marks) and not (
            self.absent and os.path.exists(folder / self.absent)
        )


def find_layout(
    root: str | pathlib.Path, dataset: str, layouts: Mapping[str, Layout], advice: str
) -> tuple[str, pathlib.Path]:
    """(name of the layout, the data set's folder) of the first layout that matches.

    Raises:
      NotThere: No layout matches.
      JaxpartError: Several folders match, see `Layout.folder`.
    """
    root = pathlib.Path(root)
    for name, layout in layouts.items():
        folder = layout.folder(root, dataset)
        if folder is not None:
            return name, folder
    marks = " or ".join(layout.marks[0] for layout in layouts.values())
    raise NotThere(f"{root} holds no {dataset}: {marks} is missing; {advice}")


def dataset_folder(
    root: str | pathlib.Path, name: str, needed: Sequence[str], advice: str
) -> pathlib.Path:
    """The data set's folder at or below a root.

    Args:
      root: The folder that the user named.
      name: Name of the folder in the official archive.
      needed: Files that must be in it; the first identifies it.
      advice: Where to get the data set, for error messages.

    Raises:
      NotThere: One of `needed` is missing.
      JaxpartError: Several folders match.
    """
    root = pathlib.Path(root)
    folder = Layout((name,), (needed[0],), distinctive=True).folder(root, name) or root
    for file in needed:
        if not os.path.exists(folder / file):
            raise NotThere(f"{folder} holds no {name}: {file} is missing; {advice}")
    return folder


def unpacked(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The innermost of nested folders called `name` (folder/name/name/…), as some archives unpack."""
    inner = folder / name
    for _ in range(_DEPTH):
        if not (inner / name).is_dir():
            break
        inner /= name
    return inner


def only_folder(
    root: pathlib.Path, has: Callable[[pathlib.Path], bool], dataset: str
) -> pathlib.Path | None:
    """The only folder below `root` for which `has` is true, or None; matches are not searched further.

    Links are followed, each folder once. Folders below the root that cannot be read are passed over.

    Raises:
      JaxpartError: Several folders match, or the root cannot be read.
    """
    matches: list[pathlib.Path] = []
    seen = {os.path.realpath(root)}
    level = [root]
    for _ in range(_DEPTH):
        next_level: list[pathlib.Path] = []
        for folder in level:
            for name in _readable_folders(folder, required=folder == root):
                child = folder / name
                real = os.path.realpath(child)
                if real in seen or len(seen) > _MAX_FOLDERS:
                    continue
                seen.add(real)
                if has(child):
                    matches.append(child)
                else:
                    next_level.append(child)
        level = next_level
    return the_one(matches, root, dataset) if matches else None


def _readable_folders(folder: pathlib.Path, *, required: bool) -> list[str]:
    try:
        return list_folders(folder) if os.path.isdir(folder) else []
    except JaxpartError:
        if required:
            raise
        return []


def the_one(folders: Sequence[pathlib.Path], root: pathlib.Path, dataset: str) -> pathlib.Path:
    """The folder, if all paths resolve to the same one; else raises `JaxpartError`."""
    distinct = list({os.path.realpath(folder): folder for folder in reversed(folders)}.values())
    if len(distinct) > 1:
        raise JaxpartError(
            f"{root} holds {dataset} {len(distinct)} times, in {distinct[-1]} and {distinct[-2]}; "
            "name one of them"
        )
    return distinct[0]

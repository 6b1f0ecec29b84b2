"""Where a data set lies: its own folder, given that folder or one above it, as archives unpack."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from jaxpart.data.folders import NotThere, list_folders
from jaxpart.errors import JaxpartError

_DEPTH = 4
_MAX_FOLDERS = 5000
"""How far below a root, and in how many folders, a data set is looked for."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way in which a data set lies on a disk.

    Attributes:
      places: Where it may lie below what the user gave, which is itself tried first.
      marks: Paths in it that tell it from other layouts; one is enough.
      absent: A path that must not be in it.
      distinctive: Whether the marks tell it from every other data set, so that it is found in a folder of
        any name; otherwise only in one that is called as the last folder of a place.
    """

    places: tuple[str, ...]
    marks: tuple[str, ...]
    absent: str | None = None
    distinctive: bool = False

    def folder(self, root: pathlib.Path, dataset: str) -> pathlib.Path | None:
        """`root`, or else the usual place that looks like it, or else the only such folder below.

        Raises:
          JaxpartError: There are several.
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
        return any((folder / mark).exists() for mark in self.marks) and not (
            self.absent and (folder / self.absent).exists()
        )


def find_layout(
    root: str | pathlib.Path, dataset: str, layouts: Mapping[str, Layout], advice: str
) -> tuple[str, pathlib.Path]:
    """(name of the layout, the data set's own folder) of the first layout found.

    Raises:
      NotThere: None is there.
      JaxpartError: There are several, see `Layout.folder`.
    """
    root = pathlib.Path(root)
    for name, layout in layouts.items():
        folder = layout.folder(root, dataset)
        if folder is not None:
            return name, folder
    wanted = " or ".join(layout.marks[0] for layout in layouts.values())
    raise NotThere(f"{root} holds no {dataset}: {wanted} is missing; {advice}")


def dataset_folder(
    root: str | pathlib.Path, name: str, needed: Sequence[str], advice: str
) -> pathlib.Path:
    """The data set's own folder, given itself or a folder above it.

    Args:
      root: What the user gave.
      name: Name of the folder in the official archive.
      needed: Files that must lie in it; the first tells it from other folders.
      advice: Where to get the data set, for the error.

    Raises:
      NotThere: One of `needed` is missing.
      JaxpartError: There are several such folders.
    """
    root = pathlib.Path(root)
    folder = Layout((name,), (needed[0],), distinctive=True).folder(root, name) or root
    for file in needed:
        if not (folder / file).exists():
            raise NotThere(f"{folder} holds no {name}: {file} is missing; {advice}")
    return folder


def unpacked(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The folder `name` in a folder, or the one of the same name in it, as some archives unpack."""
    found = folder / name
    for _ in range(_DEPTH):
        if not (found / name).is_dir():
            break
        found /= name
    return found


def only_folder(
    root: pathlib.Path, has: Callable[[pathlib.Path], bool], dataset: str
) -> pathlib.Path | None:
    """The one folder below `root` of which `has` is true, or None; what lies in it is not looked at.

    Linked folders are followed, each folder once.

    Raises:
      JaxpartError: There are several.
    """
    found: list[pathlib.Path] = []
    seen = {os.path.realpath(root)}
    level = [root]
    for _ in range(_DEPTH):
        below: list[pathlib.Path] = []
        for folder in level:
            for name in list_folders(folder) if folder.is_dir() else ():
                child = folder / name
                real = os.path.realpath(child)
                if real in seen or len(seen) > _MAX_FOLDERS:
                    continue
                seen.add(real)
                if has(child):
                    found.append(child)
                else:
                    below.append(child)
        level = below
    return the_one(found, root, dataset) if found else None


def the_one(folders: Sequence[pathlib.Path], root: pathlib.Path, dataset: str) -> pathlib.Path:
    """The folder, if all are the same by way of links. Raises `JaxpartError` if they are several."""
    different = list({os.path.realpath(folder): folder for folder in reversed(folders)}.values())
    if len(different) > 1:
        raise JaxpartError(
            f"{root} holds {dataset} {len(different)} times, in {different[-1]} and {different[-2]}; "
            "name one of them"
        )
    return different[0]

"""One file per checkpoint family: its names, and the facts that no array holds."""

from __future__ import annotations

import importlib.metadata
import pathlib
from collections.abc import Callable
from typing import Any

from convert.families import (
    aimv2,
    augreg,
    beit,
    cae,
    clip,
    data2vec,
    deit,
    dino,
    dinov2,
    dinov3,
    eva02,
    ibot,
    ijepa,
    mae,
    mocov3,
    openclip,
    siglip,
    siglip2,
    vit,
)
from convert.family import Family
from jaxpart.errors import JaxpartError
from jaxpart.io.modules import run_file

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        *(deit, mocov3, dino, ibot, mae, beit, cae),
        *(dinov2, dinov3, clip, openclip, siglip, siglip2),
        *(ijepa, data2vec, eva02, aimv2, augreg, vit),
    )
}
"""Every family by name, the paper's first."""

_ENTRY_POINTS = "jaxpart.families"


def named_family(name: str) -> Family | None:
    """A family of this package or of an installed one; None if there is none of this name.

    Raises:
      JaxpartError: It cannot be imported.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    for point in importlib.metadata.entry_points(group=_ENTRY_POINTS, name=name):
        return _checked(name, point.load)
    return None


def find_family(name: str) -> Family:
    """A family of this package, of an installed one, or of a user's own file, "path.py:NAME", which is run.

    Raises:
      JaxpartError: It does not exist or cannot be imported.
    """
    family = named_family(name)
    path, colon, attribute = name.rpartition(":")
    if family is None and colon and path.endswith(".py"):
        family = _checked(name, lambda: getattr(run_file(pathlib.Path(path)), attribute))
    if family is None:
        raise JaxpartError(
            f"there is no family {name!r}; choose from {', '.join(FAMILIES)}, or give your own as "
            f"path.py:FAMILY"
        )
    return family


def _checked(name: str, load: Callable[[], Any]) -> Family:
    try:
        family = load()
    except Exception as error:  # it is the user's code
        raise JaxpartError(
            f"the family {name} cannot be imported ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(family, Family):
        raise JaxpartError(f"{name} is a {type(family).__name__}, not a convert.family.Family")
    return family

"""The encoders of a study: which they are, and which are pretrainings of the same recipe."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.loading import describe
from jaxpart.errors import JaxpartError
from jaxpart.io.files import path_of
from jaxpart.runs.paper import METHODS
from jaxpart.zoo import shipped_folder

_ABOUT = "encoder.json"


@dataclasses.dataclass(frozen=True)
class Member:
    """An encoder of a study.

    Attributes:
      row: Its row in the table: the method; where several recipes of one are compared, all but the
        first with their folder.
      seed: Of its pretraining; None where it is not known, as of a released checkpoint.
      folder: Where it lies.
      method: "ibot", …
      digest: Of its weights.
      architecture: Of the encoder.
      pretraining: What is kept of how it was made: images seen, seconds, commit.
    """

    row: str
    seed: int | None
    folder: pathlib.Path
    method: str
    digest: str
    architecture: ViTConfig
    pretraining: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Names it among the encoders of the study, and its work directory."""
        plain = re.sub(r"[^\w.-]+", "_", self.row).strip("_")
        return plain if self.seed is None else f"{plain}-{self.seed}"


def find_members(chosen: Sequence[str]) -> list[Member]:
    """The encoders that a study names.

    Args:
      chosen: Methods, whose encoders came with jaxpart; folders of encoders; or folders that hold such
        folders, at any depth.

    Raises:
      JaxpartError: Nothing is named, or one is none of these, is damaged, or is there twice.
    """
    folders = [folder for name in chosen for folder in _folders(name)]
    if not folders:
        raise JaxpartError("a study needs encoders: name methods or folders in --config.encoders")
    rows: dict[str, str] = {}  # recipe → row
    members: list[Member] = []
    for folder in folders:
        document, architecture = describe(folder)
        method, made = str(document["family"]), document.get("pretraining") or {}
        recipe = dict(made.get("config") or {})
        seed = recipe.pop("seed", None)
        same = json.dumps([method, recipe or str(folder.resolve())], sort_keys=True)
        if same not in rows:
            there = {m.row for m in members}
            rows[same] = method if method not in there else f"{method} ({folder})"
        row = rows[same]
        kept = {key: made[key] for key in ("images_seen", "seconds", "commit") if key in made}
        one = Member(row, seed, folder, method, document["digest"], architecture, kept)
        for other in members:
            if other.digest == one.digest or other.label == one.label:
                raise JaxpartError(
                    f"the study names the same encoder twice: {other.folder} and {folder} are both "
                    f"{one.label}; name it once"
                )
        members.append(one)
    return members


def _folders(name: str) -> list[pathlib.Path]:
    if name in METHODS:
        return [shipped_folder(name)]
    folder = path_of(name)
    if (folder / _ABOUT).is_file():
        return [folder]
    order = {method: place for place, method in enumerate(METHODS)}
    inside = [path.parent for path in folder.rglob(_ABOUT)]
    inside.sort(key=lambda path: (path.parent, order.get(path.name, len(order)), path))
    if not inside:
        raise JaxpartError(
            f"{name} is neither a method ({', '.join(METHODS)}) nor a folder that holds encoders, as "
            f"`python -m convert` and `python -m jaxpart.pretraining.zoo` write them"
        )
    return inside

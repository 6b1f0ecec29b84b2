"""The encoders of a study, grouped by pretraining recipe."""

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
from jaxpart.runs.config_rules import SEED
from jaxpart.runs.paper import METHODS
from jaxpart.zoo import bundled_folder

_ENCODER_FILE = "encoder.json"


@dataclasses.dataclass(frozen=True)
class Member:
    """An encoder of a study.

    Attributes:
      row: Its row in the table: the method; with several recipes of one method, all but the first also
        have their folder.
      seed: Seed of its pretraining; None if unknown, for example of a released checkpoint.
      folder: Its folder.
      method: "ibot", …
      digest: Digest of its weights.
      architecture: Its architecture.
      pretraining: Facts about its pretraining: images seen, seconds, commit.
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
        """Its unique name in the study, and the name of its work directory."""
        safe = re.sub(r"[^\w.-]+", "_", self.row).strip("_")
        return safe if self.seed is None else f"{safe}-{self.seed}"


def find_members(chosen: Sequence[str]) -> list[Member]:
    """The encoders that a study names.

    Args:
      chosen: Methods with a bundled encoder, folders of encoders, or folders that contain such
        folders at any depth.

    Raises:
      JaxpartError: The list is empty, or an entry is none of these, damaged, or a duplicate.
    """
    folders = [folder for name in chosen for folder in _folders(name)]
    if not folders:
        raise JaxpartError("a study needs encoders: name methods or folders in --config.encoders")
    rows: dict[str, str] = {}  # recipe → row
    members: list[Member] = []
    for folder in folders:
        document, architecture = _read(folder)
        method, pretraining = document["family"], document["pretraining"]
        recipe = dict(pretraining["config"])
        seed = recipe.pop("seed", None)
        recipe_key = json.dumps([method, recipe or str(folder.resolve())], sort_keys=True)
        if recipe_key not in rows:
            taken = {m.row for m in members}
            rows[recipe_key] = method if method not in taken else f"{method} ({folder})"
        row = rows[recipe_key]
        facts = {
            key: pretraining[key]
            for key in ("images_seen", "seconds", "commit")
            if key in pretraining
        }
        member = Member(row, seed, folder, method, document["digest"], architecture, facts)
        for other in members:
            if other.digest == member.digest or other.label == member.label:
                raise JaxpartError(
                    f"the study names the same encoder twice: {other.folder} and {folder} are both "
                    f"{member.label}; name it once"
                )
        members.append(member)
    return members


def _read(folder: pathlib.Path) -> tuple[dict[str, Any], ViTConfig]:
    """See `describe`; what becomes a label, and so the name of a folder, has the right type."""
    document, architecture = describe(folder)
    family, pretraining = document.get("family"), document.get("pretraining") or {}
    recipe = (pretraining.get("config") or {}) if isinstance(pretraining, dict) else None
    if (
        not isinstance(family, str)
        or not re.match(r"[^\W_]", family)  # not ".."
        or not isinstance(document.get("digest"), str)
        or not isinstance(recipe, dict)
        or (recipe.get("seed") is not None and SEED.fault(recipe["seed"]))
    ):
        raise JaxpartError(f"{folder / _ENCODER_FILE} is damaged; convert again")
    return document | {"pretraining": {**pretraining, "config": recipe}}, architecture


def _folders(name: str) -> list[pathlib.Path]:
    if name in METHODS:
        return [bundled_folder(name)]
    folder = path_of(name)
    if (folder / _ENCODER_FILE).is_file():
        return [folder]
    order = {method: number for number, method in enumerate(METHODS)}
    inside = [path.parent for path in folder.rglob(_ENCODER_FILE)]
    inside.sort(key=lambda path: (path.parent, order.get(path.name, len(order)), path))
    if not inside:
        raise JaxpartError(
            f"{name} is neither a method ({', '.join(METHODS)}) nor a folder that holds encoders, as "
            f"`python -m convert` and `python -m jaxpart.pretraining.zoo` write them"
        )
    return inside

"""Opens data sets of corresponding keypoints by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxpart.data import critters
from jaxpart.data.pairs import PairSet, class_pairs, paired
from jaxpart.data.sets.cub import Cub
from jaxpart.data.sets.keypoint_pairs import Across, ap10k, own_pairs
from jaxpart.data.sets.pf_pascal import pf_pascal
from jaxpart.data.sets.spair import spair
from jaxpart.data.source import Source
from jaxpart.errors import JaxpartError
from jaxpart.io.files import on_disk

PAIR_SETS = {
    "critters": "",
    "cub_parts": "all",
    "spair": "test",
    "pf_pascal": "test",
    "ap10k": "test",
    "ap10k_cross_species": "test",
    "ap10k_cross_family": "test",
    "own": "",
}
"""The evaluated split of each data set."""

_ACROSS: dict[str, Across] = {
    "ap10k": "",
    "ap10k_cross_species": "species",
    "ap10k_cross_family": "families",
}

ALIASES = {"cub": "cub_parts"}

_CUB_GROUPS = ((7, 11), (8, 12), (9, 13))
"""Left and right eye, leg and wing."""


def open_pairs(name: str, data: Any, *, most: int, seed: int) -> PairSet:
    """Opens the pairs of a data set.

    Args:
      name: A key of `PAIR_SETS`.
      data: The configuration's `data`, see `jaxpart.data.sets.open_set`.
      most: Limit of pairs per class; 0: all. Official lists of pairs are always complete.
      seed: Seed of the sampling.

    Raises:
      JaxpartError: The data set is missing or damaged, or has no pairs.
    """
    if name == "critters":
        source = critters.Critters(
            "test",
            data.num_images,
            image_size=data.image_size,
            seed=data.seed,
            version=data.version,
        )
        return _class_pairs(source, most, seed)
    if not data.root:
        raise JaxpartError(
            f"the data root is missing: pass --config.data.root=FOLDER, the folder that holds {name}"
        )
    on_disk(data.root, "a data root")
    split = PAIR_SETS[name]
    if name == "cub_parts":
        cub = Cub(data.root, split)
        groups = dict.fromkeys(cub.info.class_names, _CUB_GROUPS)
        return _class_pairs(cub, most, seed, cub.boxes()[:, 2:], groups)
    if name == "own":
        return own_pairs(data.root, most, seed)
    if name in _ACROSS:
        return ap10k(data.root, split, most, seed, _ACROSS[name])
    return (spair if name == "spair" else pf_pascal)(data.root, split)


def _class_pairs(
    source: Source,
    most: int,
    seed: int,
    boxes: np.ndarray | None = None,
    groups: Any = None,
) -> PairSet:
    """Pairs of images of one class."""
    names = source.info.class_names
    labels = [names[source.annotation(i).label or 0] for i in range(len(source))]
    return paired(source, *class_pairs(labels, most, seed), boxes=boxes, groups=groups)

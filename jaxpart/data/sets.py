"""Part data sets by the name that a configuration gives them."""

from __future__ import annotations

from typing import Any

from jaxpart.data.coco import CocoPersons
from jaxpart.data.critters import CRITTER_PARTS, Critters
from jaxpart.data.cub import Cub
from jaxpart.data.parts import COCO_PARTS, CUB_PARTS, PartSelection
from jaxpart.data.source import Source
from jaxpart.errors import JaxpartError

PART_SETS = ("critters", "cub", "coco")
"""Data sets of part patches."""


def retrieval_set(name: str, config: Any) -> tuple[Source, PartSelection]:
    """The data set on which the paper measures part retrieval, and its parts.

    CUB-200-2011: both splits; COCO: train2017; critters: one drawn split.

    Args:
      name: One of `PART_SETS`.
      config: The configuration's `data`: root, seed, and for critters num_images and image_size.

    Raises:
      JaxpartError: The name is unknown, the root is not given, or the data set is not there.
    """
    _check(name, config)
    if name == "critters":
        return _critters("test", config), CRITTER_PARTS
    if name == "cub":
        return Cub(config.root), CUB_PARTS
    return CocoPersons(config.root), COCO_PARTS


def classification_sets(name: str, config: Any) -> tuple[Source, Source, PartSelection]:
    """The training and test sets on which the paper measures part classification, and their parts.

    Args:
      name: One of `PART_SETS`.
      config: As for `retrieval_set`.

    Raises:
      JaxpartError: The name is unknown, the root is not given, or a data set is not there.
    """
    _check(name, config)
    if name == "critters":
        return _critters("train", config), _critters("test", config), CRITTER_PARTS
    if name == "cub":
        return Cub(config.root, "train"), Cub(config.root, "test"), CUB_PARTS
    return CocoPersons(config.root), CocoPersons(config.root, "val2017"), COCO_PARTS


def _critters(split: str, config: Any) -> Critters:
    return Critters(split, config.num_images, image_size=config.image_size, seed=config.seed)


def _check(name: str, config: Any) -> None:
    if name not in PART_SETS:
        raise JaxpartError(
            f"there is no part data set {name!r}; choose among {', '.join(PART_SETS)}"
        )
    if name != "critters" and not config.root:
        raise JaxpartError(
            "the data root is missing: pass --config.data.root=FOLDER, the folder that holds "
            "CUB_200_2011 (https://www.vision.caltech.edu/datasets/cub_200_2011/) and coco "
            "(https://cocodataset.org/#download)"
        )

"""What the configurations share: how they are found, their variants, and their fields."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from ml_collections import ConfigDict

from jaxpart.errors import JaxpartError

_HERE = pathlib.Path(__file__).resolve().parent


def locate(argument: str) -> str:
    """Path of a configuration file, which may be one of those that came with jaxpart.

    Args:
      argument: What follows --config: "configs/ibot_part.py" or "configs/ibot_part.py:paper".

    Raises:
      JaxpartError: There is no such file, here or embedded.
    """
    path, colon, variant = argument.partition(":")
    embedded = [_HERE / "configs", _HERE.parent / "configs"]  # installed, or in the source tree
    for candidate in (
        pathlib.Path(path),
        *(folder / pathlib.Path(path).name for folder in embedded),
    ):
        if candidate.is_file():
            return f"{candidate}{colon}{variant}"
    known = sorted({f"configs/{file.name}" for folder in embedded for file in folder.glob("*.py")})
    raise JaxpartError(f"there is no configuration {path}; embedded are {', '.join(known)}")


def variant_of(argument: str | None, known: Sequence[str]) -> str:
    """The variant after the colon, "" for the default.

    Raises:
      JaxpartError: It is not one of those known.
    """
    variant = argument or ""
    if variant and variant not in known:
        raise JaxpartError(f"there is no variant {variant!r}; choose among {', '.join(known)}")
    return variant


def part_config(method: str, argument: str | None, *, projector: bool) -> ConfigDict:
    """The part tasks with one method's encoder.

    Args:
      method: "ibot", …
      argument: "" for the embedded data set and a small encoder; "paper" for CUB-200-2011 and COCO
        with the released ViT-B/16.
      projector: Whether the method's released checkpoint has a projector to compare with.
    """
    paper = variant_of(argument, ["paper"]) == "paper"
    config = ConfigDict()
    config.method = method
    config.seed = 0
    config.tasks = ("retrieval",)

    config.encoder = ConfigDict()
    config.encoder.checkpoint = ""  # folder written by `python -m convert`
    config.encoder.small = not paper  # without a checkpoint: a small encoder with random weights

    config.data = ConfigDict()
    config.data.sets = ("cub", "coco") if paper else ("critters",)
    config.data.root = ""  # folder that holds CUB_200_2011 and coco
    config.data.seed = 0
    config.data.num_images = 600  # critters
    config.data.image_size = 96  # critters

    config.retrieval = ConfigDict()
    config.retrieval.representations = (
        ("embedding", "projection", "cls_token") if projector else ("embedding", "cls_token")
    )
    config.retrieval.exclude_self = False  # the paper's queries retrieve themselves too
    config.retrieval.batch_size = 64
    config.retrieval.patch_pixels = 224 if paper else 0  # 0: the size the encoder was made for
    config.retrieval.on_error = "raise"  # or "skip" images that cannot be read
    return config

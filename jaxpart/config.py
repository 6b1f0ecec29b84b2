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
    config.seeds = 1  # heads trained beside each other: seed, seed + 1, …
    config.tasks = ("retrieval", "classification")

    config.encoder = ConfigDict()
    config.encoder.checkpoint = ""  # folder written by `python -m convert`
    config.encoder.small = not paper  # without a checkpoint: a small encoder with random weights

    config.data = ConfigDict()
    config.data.sets = ("cub", "coco") if paper else ("critters",)
    config.data.root = ""  # folder that holds CUB_200_2011 and coco
    config.data.seed = 0
    config.data.num_images = 600  # critters
    config.data.image_size = 96  # critters

    config.features = ConfigDict()
    config.features.cache = "disk"  # or "ram", kept while the program runs, or "off"
    config.features.folder = ""  # by default jaxpart/features in the user's cache folder
    config.features.precision = "float32"  # or "bfloat16": half the size, rounded to 3 digits

    config.retrieval = ConfigDict()
    config.retrieval.representations = (
        ("embedding", "projection", "cls_token") if projector else ("embedding", "cls_token")
    )
    config.retrieval.exclude_self = False  # the paper's queries retrieve themselves too
    config.retrieval.batch_size = 64
    config.retrieval.patch_pixels = 224 if paper else 0  # 0: the size the encoder was made for
    config.retrieval.on_error = "raise"  # or "skip" images that cannot be read

    config.classification = classification_config(paper)
    return config


def classification_config(paper: bool) -> ConfigDict:
    """Part classification as the paper has it, or sized for the embedded data set."""
    config = ConfigDict()
    config.heads = ("linear", "attentive")
    config.references = ("knn", "logistic")  # without learning rates, on the linear head's features
    config.epochs = 90
    config.batch_size = 1024 if paper else 256
    config.bn_test = "running"  # BatchNorm while testing; "batch" as in the published code
    config.selection = True  # also choose rate and epoch on a held-out tenth of the training set

    config.linear = ConfigDict()
    config.linear.representations = ("cls_token",)
    config.linear.rates = (0.1,)  # base rates, for a batch of 256
    config.linear.batch_norm = False  # MAE's recipe has one before the linear layer

    config.attentive = ConfigDict()
    config.attentive.representations = ("tokens",)
    config.attentive.rates = (0.01,)
    config.attentive.num_heads = 12 if paper else 4

    config.encoder_batch_size = 64
    config.patch_pixels = 224 if paper else 0  # 0: the size the encoder was made for
    config.on_error = "raise"  # or "skip" images that cannot be read
    return config

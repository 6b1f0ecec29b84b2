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
    config.tasks = ("retrieval", "segmentation")

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

    config.segmentation = _segmentation(paper)
    return config


def _segmentation(paper: bool) -> ConfigDict:
    """Heads on frozen blocks: the paper's recipe, or one of seconds for critters."""
    config = ConfigDict()
    config.sets = (
        ("ade20k_part", "ade20k_object", "ade20k", "pascal_part", "pascal_object", "lip")
        if paper
        else ("critters_part", "critters_object")
    )
    config.train_images = 0 if paper else 200  # that many, drawn by the seed; 0: all
    config.test_images = 0 if paper else 60
    config.in_memory = not paper  # every image is read once and kept, as the files are
    config.readouts = ("paper", "blocks")  # the paper's head, and one on every block alone
    config.shares = () if paper else (0.01, 0.05, 0.1)  # few-shot: shares of the training images
    config.iterations = 160_000 if paper else 120
    config.batch_size = 16
    config.learning_rate = 4e-4 if paper else 0.02
    config.weight_decay = 0.05
    config.warmup = 1500 if paper else 10
    config.window_batch = 16  # test windows that the encoder sees at a time
    config.pictures = 8  # test images drawn with truth and prediction

    config.incontext = ConfigDict()
    config.incontext.images = 512 if paper else 200  # training crops to compare with; 0: without
    config.incontext.neighbours = 30
    config.incontext.temperature = 0.02

    # data set, kind of masks, classes in the paper, training scale, test scale, crop, stride, splits
    ade20k, pascal = ((2048, 512), (2048, 512), 512, 341), ((520, 520), (3840, 480), 480, 161)
    settings = {
        "ade20k_part": ("ade20k_part", "part", 209, *ade20k, "train", "val"),
        "ade20k_object": ("ade20k_object", "object", 59, *ade20k, "train", "val"),
        "ade20k": ("ade20k", "object", 150, *ade20k, "train", "val"),
        "pascal_part": ("pascal_part", "part", 193, *pascal, "train", "val"),
        "pascal_object": ("pascal_object", "object", 16, *pascal, "train", "val"),
        "lip": ("lip", "part", 19, (1024, 320), (4096, 320), 320, 161, "train", "val"),
        "critters_part": ("critters", "part", 0, (96, 96), (96, 96), 64, 32, "train", "test"),
        "critters_object": ("critters", "object", 0, (96, 96), (96, 96), 64, 32, "train", "test"),
    }
    fields = (
        "data",
        "kind",
        "classes",
        "train_scale",
        "test_scale",
        "crop",
        "stride",
        "train_split",
        "test_split",
    )
    config.settings = ConfigDict(
        {name: dict(zip(fields, row, strict=True)) for name, row in settings.items()}
    )
    return config

"""Shared by all configurations: lookup, variants, and fields."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxpart.errors import JaxpartError
from jaxpart.runs.config_fields import SECTIONS, SETTING
from jaxpart.runs.config_rules import Field
from jaxpart.tasks import TASKS

_HERE = pathlib.Path(__file__).resolve().parent
_FOLDERS = (_HERE / "configs", _HERE.parent / "configs")
"""Folders of the bundled configurations: of an installed package, and in the source tree."""

_PART_TASKS = ("retrieval", "classification", "segmentation", "layers", "masked_parts", "attention")


def locate(argument: str) -> str:
    """Path of a configuration file, which may be one of those bundled with jaxpart.

    Args:
      argument: What follows --config: "configs/ibot_part.py" or "configs/ibot_part.py:paper".

    Raises:
      JaxpartError: There is no such file, on disk or bundled.
    """
    path, colon, variant = argument.partition(":")
    relative = pathlib.Path(path.removeprefix("configs/"))
    for candidate in (pathlib.Path(path), *(folder / relative for folder in _FOLDERS)):
        if candidate.is_file():
            return f"{candidate}{colon}{variant}"
    raise JaxpartError(f"there is no configuration {path}; bundled ones are {', '.join(bundled())}")


def bundled() -> list[str]:
    """Names of the configurations bundled with jaxpart."""
    return sorted(
        {
            f"configs/{file.relative_to(folder).as_posix()}"
            for folder in _FOLDERS
            for file in folder.rglob("*.py")
        }
    )


def variant_of(argument: str | None, known: Sequence[str]) -> str:
    """The variant after the colon, "" for the default.

    Raises:
      JaxpartError: It is not one of those known.
    """
    variant = argument or ""
    if variant and variant not in known:
        advice = f"choose from {', '.join(known)}" if known else "there are none"
        raise JaxpartError(f"there is no variant {variant!r}; {advice}")
    return variant


def _defaults(*tasks: str) -> ConfigDict:
    """A configuration for some tasks, with the default of each field."""
    return _default({k: v for k, v in SECTIONS.items() if k not in TASKS or k in tasks})


def _default(field: Any) -> Any:
    if isinstance(field, dict):
        return ConfigDict({name: _default(inner) for name, inner in field.items()})
    return Field(*field).default


def part_config(method: str, argument: str | None, *, projector: bool) -> ConfigDict:
    """The part tasks with one method's encoder.

    Args:
      method: "ibot", …
      argument: "" for the bundled data set and a small encoder; "paper" for CUB-200-2011 and COCO
        with the released ViT-B/16.
      projector: Whether the method's released checkpoint has a projector to compare with.
    """
    paper = variant_of(argument, ["paper"])
    config = _defaults(*_PART_TASKS)
    config.method = method
    config.segmentation.settings = _segmentation_settings()
    if projector:
        config.retrieval.representations = ("embedding", "projection", "cls_token")
    if paper:
        # Its segmentation takes days: enable it with --config.tasks="('segmentation',)".
        config.tasks = ("retrieval", "classification")
        config.encoder.small = ""
        config.data.sets = ("cub", "coco")
        config.retrieval.patch_pixels = config.classification.patch_pixels = 224
        _as_published(config.classification)
        config.masked_parts.images = 2000
        options = config.segmentation
        options.sets = (
            "ade20k_part",
            "ade20k_object",
            "ade20k",
            "pascal_part",
            "pascal_object",
            "lip",
        )
        options.train_images = options.test_images = 0
        options.in_memory, options.shares = False, ()
        options.iterations, options.learning_rate, options.warmup = 160_000, 4e-4, 1500
        options.incontext.images = 512
    return config


def correspondence_config(argument: str | None) -> ConfigDict:
    """Semantic correspondence.

    Args:
      argument: "" for the bundled data set and a small encoder; "spair" or "cub" for a converted
        checkpoint on these data.
    """
    variant = variant_of(argument, ["spair", "cub"])
    config = _one_task("correspondence", bundled=not variant)
    config.data.sets = ()
    if variant:
        config.correspondence.sets = (variant,)
    if variant == "spair":
        config.correspondence.pairs = 0
    return config


def parts_config(argument: str | None) -> ConfigDict:
    """Unsupervised parts.

    Args:
      argument: "" for the bundled data set and a small encoder; "cub" for a converted checkpoint on
        CUB-200-2011.
    """
    variant = variant_of(argument, ["cub"])
    config = _one_task("unsupervised_parts", bundled=not variant)
    config.data.sets = (variant or "critters",)
    if variant:
        config.unsupervised_parts.update(parts=(4, 8, 16), images=1000, tokens=50_000, restarts=10)
    return config


def _one_task(task: str, *, bundled: bool) -> ConfigDict:
    """A single task, with the bundled iBOT encoder or a converted checkpoint."""
    config = _defaults(task)
    config.method = "ibot"
    config.tasks = (task,)
    config.encoder.small = "trained" if bundled else ""
    return config


def study_config(argument: str | None, methods: Sequence[str]) -> ConfigDict:
    """All tasks on the bundled data set, sized for many encoders: see `jaxpart.study`.

    Args:
      argument: "": there are no variants.
      methods: The encoders bundled with jaxpart.
    """
    variant_of(argument, [])
    config = part_config("", "", projector=True)
    del config.method
    del config.encoder
    config.encoders = tuple(methods)  # methods, folders of encoders, or folders of such folders
    config.seeds = 1  # pretraining seeds of each method; all but the first are stored results
    config.tasks = (
        "object_classification",
        "retrieval",
        "classification",
        "segmentation",
        "layers",
        "masked_parts",
    )
    for heads in (config.classification, objects := object_config("", ()).object_classification):
        heads.selection = False
        heads.references = ()
        heads.linear.epochs = heads.attentive.epochs = 30
    objects.views = "eval"  # every image is encoded once
    config.object_classification = objects
    config.segmentation.readouts = ("paper",)
    config.segmentation.resize = "pillow"  # as the stored results were measured
    config.segmentation.shares = ()
    config.segmentation.incontext.images = 0
    config.segmentation.pictures = 0
    return config


def _segmentation_settings() -> dict[str, Any]:
    """How each data set is segmented, by the name of the setting."""
    # data set, kind of masks, classes in the paper, training scale, test scale, crop, stride, splits
    ade20k, pascal = ((2048, 512), (2048, 512), 512, 341), ((520, 520), (3840, 480), 480, 161)
    critters = (192, 192), (192, 192), 96, 48
    settings = {
        "ade20k_part": ("ade20k_part", "part", 209, *ade20k, "train", "val"),
        "ade20k_object": ("ade20k_object", "object", 59, *ade20k, "train", "val"),
        "ade20k": ("ade20k", "object", 150, *ade20k, "train", "val"),
        "pascal_part": ("pascal_part", "part", 193, *pascal, "train", "val"),
        "pascal_object": ("pascal_object", "object", 16, *pascal, "train", "val"),
        "pascal_part_58": ("pascal_part_58", "part", 0, *pascal, "train", "val"),
        "pascal_part_116": ("pascal_part_116", "part", 0, *pascal, "train", "val"),
        "partimagenet_part": ("partimagenet_part", "part", 0, *pascal, "train", "val"),
        "partimagenet_object": ("partimagenet_object", "object", 0, *pascal, "train", "val"),
        "paco_part": ("paco_part", "part", 0, *pascal, "train", "val"),
        "paco_object": ("paco_object", "object", 0, *pascal, "train", "val"),
        "lip": ("lip", "part", 19, (1024, 320), (4096, 320), 320, 161, "train", "val"),
        "tfds": ("tfds:", "object", 0, *pascal, "train", "test"),  # any set of tensorflow-datasets
        "critters_part": ("critters", "part", 0, *critters, "train", "test"),
        "critters_object": ("critters", "object", 0, *critters, "train", "test"),
    }
    return {name: dict(zip(SETTING, row, strict=True)) for name, row in settings.items()}


def _as_published(heads: ConfigDict) -> None:
    """Sets the paper's recipe for probing."""
    for head in (heads.linear, heads.attentive):
        head.epochs, head.batch_size = 90, 1024
    heads.attentive.num_heads = 12


def object_config(argument: str | None, methods: Sequence[str]) -> ConfigDict:
    """Object classification.

    Args:
      argument: "" for the bundled data set and a small encoder; a method for ImageNet-1k with its
        released ViT-B/16.
      methods: Known methods.
    """
    method = variant_of(argument, methods)
    config = _one_task("object_classification", bundled=not method)
    options = config.object_classification
    if not method:
        config.data.num_images = 240
        options.linear.epochs = options.attentive.epochs = 5
        return config
    config.method, config.data.sets = method, ("imagenet",)
    _as_published(options)
    options.selection = False  # it doubles the time
    options.references = ()
    options.linear.update(_LINEAR.get(method, {}))
    options.attentive.update(_ATTENTIVE.get(method, {}))
    if method == "cae":
        options.bn_test = "batch"
    if method == "deit":
        options.own_classifier, options.heads = True, ()
    return config


_LARS = {
    "batch_norm": True,
    "lars": True,
    "every_step": True,
    "warmup": 10,
    "batch_size": 16384,
    "drop_last": True,
}
_LINEAR: Mapping[str, Mapping[str, Any]] = {
    "mae": _LARS,
    "cae": _LARS,
    "mocov3": {"rates": (3.0,)},
    "dino": {
        "representations": ("cls_token+embedding",),
        "rates": (0.001,),
        "epochs": 100,
    },
    "ibot": {
        "representations": ("cls_token+embedding",),
        "rates": (0.001, 0.003, 0.01, 0.03, 0.1),
        "epochs": 100,
    },
    "beit": {
        "representations": ("block8/embedding",),
        "rates": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
        "epochs": 50,
    },
}
"""Each method's deviations in its published linear probe on ImageNet-1k, see configs/imagenet_probe.py."""

_ATTENTIVE: Mapping[str, Mapping[str, Any]] = {
    "cae": {
        "initial": "cae",
        "rates": (0.4,),
        "scale_rates": False,
        "end_rate": 1e-6,
        "nesterov": True,
        "every_step": True,
        "drop_last": True,
        "batch_size": 8192,
        "warmup": 10,
    }
}
"""How CAE's published attentive probe on ImageNet-1k differs from the paper's for the other methods."""


def linear_representation(method: str) -> str:
    """What the linear head of a method's published recipe for ImageNet-1k reads."""
    return _LINEAR.get(method, {}).get("representations", ("cls_token",))[0]

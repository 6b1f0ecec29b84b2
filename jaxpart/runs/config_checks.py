"""The allowed values of all configuration fields, checked at the start of a run.

The settings of segmentation's data sets are checked by the task's own module.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from jaxpart.data.resizing import RESIZES
from jaxpart.data.sets import ALIASES, SETS
from jaxpart.data.sets.pairs import ALIASES as PAIR_ALIASES
from jaxpart.data.sets.pairs import PAIR_SETS
from jaxpart.data.sets.tfds_folders import PREFIX
from jaxpart.encoders import families
from jaxpart.encoders.precision import Precision
from jaxpart.errors import JaxpartError
from jaxpart.features.cache import PRECISIONS
from jaxpart.io.files import path_of
from jaxpart.labels import IGNORE
from jaxpart.runs.config_rules import (
    BATCH,
    COUNT,
    COUNT_OR_NONE,
    EPOCHS,
    NOT_NEGATIVE,
    PIXELS,
    POSITIVE,
    SEED,
    SWITCH,
    TEXT,
    TEXTS,
    Rule,
    check_fields,
    one_of,
    some_of,
)
from jaxpart.tasks import TASKS
from jaxpart.tasks.correspondence.places import CONVENTIONS
from jaxpart.tasks.unsupervised_parts.clustering import METHODS

_WORKERS = Rule("whole", low=0, high=1024)
_CLASSIFICATIONS = ("classification", "object_classification")
_HEADS = ("linear", "attentive")

_HEAD = {
    "representations": TEXTS,
    "rates": Rule("number", above=0, many=True),
    "epochs": EPOCHS,
    "batch_size": BATCH,
    "momentum": Rule("number", low=0, below=1),
    "weight_decay": NOT_NEGATIVE,
    "warmup": COUNT_OR_NONE,
    "lars": SWITCH,
    "nesterov": SWITCH,
    "scale_rates": SWITCH,
    "end_rate": NOT_NEGATIVE,
    "drop_last": SWITCH,
    "initial": one_of("truncated", "cae"),
    "every_step": SWITCH,
    "batch_norm": SWITCH,
    "num_heads": COUNT,
}

_CLASSIFICATION = {
    "heads": some_of(*_HEADS),
    "references": some_of("knn", "logistic"),
    "bn_test": one_of("running", "batch"),
    "selection": SWITCH,
    "encoder_batch_size": BATCH,
    "patch_pixels": PIXELS,
    "pixels": PIXELS,
    "workers": _WORKERS,
    "views": one_of("random", "eval"),
    "own_classifier": SWITCH,
    "on_error": one_of("raise", "skip"),
    **{f"{head}.{name}": rule for head in _HEADS for name, rule in _HEAD.items()},
}

RULES: dict[str, Rule] = {
    "method": TEXT,
    "seed": SEED,
    "seeds": Rule("whole", low=1, high=1000),
    "tasks": some_of(*TASKS),
    "encoders": TEXTS,
    "encoder.checkpoint": TEXT,
    "encoder.small": one_of("", "trained", "random"),
    "encoder.precision": one_of(*get_args(Precision)),
    "encoder.model_devices": Rule("whole", low=1, high=2**20),
    "encoder.released": SWITCH,
    "encoder.patch_order": one_of("kept", "permuted"),
    "encoder.callable": TEXT,
    "encoder.weights": TEXT,
    "encoder.checkpoint_key": TEXT,
    "encoder.image_size": PIXELS,
    "encoder.pixels": one_of("", *families.PIXELS),
    "encoder.version": TEXT,
    "encoder.features": TEXT,
    "data.sets": Rule("text", choices=tuple(SETS), aliases=ALIASES, prefix=PREFIX, many=True),
    "data.root": TEXT,
    "data.seed": SEED,
    "data.num_images": Rule("whole", low=1, high=10**7),
    "data.image_size": Rule("whole", low=32, high=1024),
    "data.version": Rule("whole", low=1, high=2),
    "data.tfds.label_map": TEXT,
    "data.tfds.classes": TEXTS,
    "data.tfds.keypoints": TEXT,
    "data.tfds.parts": TEXTS,
    "data.tfds.ignored": Rule("whole", low=0, high=IGNORE, many=True),
    "features.cache": one_of("off", "ram", "disk"),
    "features.folder": TEXT,
    "features.precision": one_of(*PRECISIONS),
    "report": SWITCH,
    "tensorboard": SWITCH,
    "retrieval.representations": TEXTS,
    "retrieval.exclude_self": SWITCH,
    "retrieval.untrained": SWITCH,
    "retrieval.batch_size": BATCH,
    "retrieval.patch_pixels": PIXELS,
    "retrieval.on_error": one_of("raise", "skip"),
    **{
        f"{task}.{name}": rule
        for task in _CLASSIFICATIONS
        for name, rule in _CLASSIFICATION.items()
    },
    "segmentation.sets": TEXTS,
    "segmentation.train_images": COUNT_OR_NONE,
    "segmentation.test_images": COUNT_OR_NONE,
    "segmentation.in_memory": SWITCH,
    "segmentation.readouts": TEXTS,
    "segmentation.shares": Rule("number", above=0, below=1, many=True),
    "segmentation.iterations": COUNT,
    "segmentation.batch_size": COUNT,
    "segmentation.learning_rate": POSITIVE,
    "segmentation.weight_decay": NOT_NEGATIVE,
    "segmentation.warmup": COUNT_OR_NONE,
    "segmentation.resize": one_of(*RESIZES),
    "segmentation.window_batch": COUNT,
    "segmentation.workers": _WORKERS,
    "segmentation.pictures": COUNT_OR_NONE,
    "segmentation.incontext.images": COUNT_OR_NONE,
    "segmentation.incontext.neighbours": COUNT,
    "segmentation.incontext.temperature": POSITIVE,
    "layers.tokens": TEXTS,
    "masked_parts.images": COUNT_OR_NONE,
    "masked_parts.largest_share": Rule("number", above=0, high=1),
    "attention.images": COUNT_OR_NONE,
    "correspondence.sets": Rule("text", choices=tuple(PAIR_SETS), aliases=PAIR_ALIASES, many=True),
    "correspondence.pairs": COUNT_OR_NONE,
    "correspondence.representations": TEXTS,
    "correspondence.alphas": Rule("number", above=0, high=1, many=True),
    "correspondence.reference": one_of("box", "image"),
    "correspondence.convention": one_of(*CONVENTIONS),
    "correspondence.soft_window": COUNT_OR_NONE,
    "correspondence.pixels": COUNT_OR_NONE,
    "correspondence.stride": COUNT_OR_NONE,
    "correspondence.batch_size": COUNT,
    "unsupervised_parts.methods": some_of(*METHODS),
    "unsupervised_parts.parts": Rule("whole", low=2, high=1000, many=True),
    "unsupervised_parts.representations": TEXTS,
    "unsupervised_parts.foreground": one_of("auto", "masks", "spectral"),
    "unsupervised_parts.images": COUNT_OR_NONE,
    "unsupervised_parts.tokens": COUNT,
    "unsupervised_parts.restarts": Rule("whole", low=1, high=1000),
    "unsupervised_parts.pictures": Rule("whole", low=0, high=100),
    "unsupervised_parts.pixels": COUNT_OR_NONE,
    "unsupervised_parts.batch_size": BATCH,
}
"""Rules by the field's dotted path."""


def check_config(config: Any) -> None:
    """Checks the configuration of a run or of a study.

    Args:
      config: See `jaxpart.config`.

    Raises:
      JaxpartError: The value of a field is not allowed, fields contradict each other, or there is nothing
        to evaluate.
    """
    check_fields(config, RULES)
    if "tasks" not in config or not config.tasks:
        raise JaxpartError(f"config.tasks is empty; choose from {', '.join(TASKS)}")
    for task in config.tasks:
        if task not in config:
            raise JaxpartError(
                f"this configuration has no fields for the task {task!r}; choose from "
                f"{', '.join(name for name in TASKS if name in config)}, or use another --config"
            )
    folder = path_of(config.features.folder or ".")
    if folder.exists() and not folder.is_dir():
        raise JaxpartError(
            f"config.features.folder is {folder}, which is not a folder; name another"
        )
    _check_encoder(config.get("encoder", {}))
    for path in _needed(config):
        value = config
        for name in path.split("."):
            value = value[name]
        if not value:
            raise JaxpartError(f"config.{path} is empty; name at least one")
    for task in _CLASSIFICATIONS:
        if task in config.tasks:
            _check_heads(task, config[task])


_OF_FUNCTIONS = ("weights", "checkpoint_key", "image_size", "pixels", "version")


def _check_encoder(encoder: Any) -> None:
    """Raises `JaxpartError` for options that do not apply to the kind of encoder."""
    kinds = [name for name in ("checkpoint", "callable", "features") if encoder.get(name, "")]
    if len(kinds) > 1:
        raise JaxpartError(
            f"{' and '.join(f'config.encoder.{name}' for name in kinds)} are {len(kinds)} encoders; name "
            f"one of them"
        )
    allowed = {"callable": _OF_FUNCTIONS, "features": ("image_size",)}.get(
        kinds[0] if kinds else "", ()
    )
    for name in _OF_FUNCTIONS:
        if encoder.get(name, "") and name not in allowed:
            raise JaxpartError(
                f"config.encoder.{name} applies only to a config.encoder.callable; name one, or "
                "leave it out"
            )
    if kinds and kinds[0] != "checkpoint" and encoder.get("patch_order", "kept") != "kept":
        raise JaxpartError(
            "config.encoder.patch_order reproduces a quirk of the published code for MAE's ViT; "
            "leave it at 'kept'"
        )


_NEEDED = {
    "segmentation": ("sets", "readouts"),
    "correspondence": ("sets", "alphas"),
    "unsupervised_parts": ("methods", "parts"),
    "retrieval": ("representations",),
    "layers": ("tokens",),
}


def _needed(config: Any) -> Iterator[str]:
    """The fields that must not be empty for a configuration's tasks."""
    if "encoders" in config:
        yield "encoders"
    if set(config.tasks) - {"segmentation", "correspondence"}:
        yield "data.sets"
    for task, fields in _NEEDED.items():
        if task in config.tasks:
            yield from (f"{task}.{field}" for field in fields)
    for task in _CLASSIFICATIONS:
        if task in config.tasks:
            options = config[task]
            for head in options.heads:
                yield f"{task}.{head}.representations"
                yield f"{task}.{head}.rates"
            if options.references:
                yield f"{task}.linear.representations"


def _check_heads(task: str, options: Any) -> None:
    if not (options.heads or options.references or options.get("own_classifier", False)):
        raise JaxpartError(
            f"config.{task} has nothing to test: neither heads nor references; name one in "
            f"config.{task}.heads"
        )
    for head in options.heads:
        warmup, epochs = options[head].warmup, options[head].epochs
        if warmup > epochs:
            raise JaxpartError(
                f"config.{task}.{head}.warmup is {warmup}, longer than its {epochs} epochs; give 0 to "
                f"{epochs}"
            )

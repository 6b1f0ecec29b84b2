"""Checks of a configuration, at the start of a run and when a run's folder is read."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

from jaxpart.errors import JaxpartError
from jaxpart.io.files import path_of, read_json
from jaxpart.runs.config_fields import CLASSIFICATIONS, SECTIONS, field_of
from jaxpart.runs.config_rules import Rule, check_fields, fields_of
from jaxpart.tasks import TASKS


def check_config(config: Any) -> None:
    """Checks the configuration of a run or of a study.

    Args:
      config: See `jaxpart.config`.

    Raises:
      JaxpartError: The value of a field is not allowed, fields contradict each other, or there is nothing
        to evaluate.
    """
    check_fields(config, field_of)
    if "tasks" not in config or not config.tasks:
        raise JaxpartError(f"config.tasks is empty; choose from {', '.join(TASKS)}")
    for task in config.tasks:
        if task not in config:
            raise JaxpartError(
                f"this configuration has no fields for the task {task!r}; choose from "
                f"{', '.join(name for name in TASKS if name in config)}, or use another --config"
            )
    fields = dict(fields_of(config))
    several = ("method", "encoder.") if "encoders" in config else ()  # a study sets them for each
    for path, _ in _fields_for(config):
        if path not in fields and not path.startswith(several):
            raise JaxpartError(
                f"the configuration has no {path}; make yours from one of jaxpart.config, such as "
                "part_config"
            )
    folder = path_of(config.features.folder or ".")
    if folder.exists() and not folder.is_dir():
        raise JaxpartError(
            f"config.features.folder is {folder}, which is not a folder; name another"
        )
    if "encoder" in config:  # a study has several
        _check_encoder(config.encoder)
    for path in _needed(config):
        value = config
        for name in path.split("."):
            value = value[name]
        if not value:
            raise JaxpartError(f"config.{path} is empty; name at least one")
    for task in CLASSIFICATIONS:
        if task in config.tasks:
            _check_heads(task, config[task])


def _fields_for(config: Any) -> Iterator[tuple[str, Rule]]:
    """Paths and rules of all fields that a configuration needs for its tasks, "tasks" before theirs."""
    for path, (rule, *_) in fields_of(SECTIONS):
        section = path.partition(".")[0]
        if section not in TASKS or section in config or section in config["tasks"]:
            yield path, rule


def read_config(file: pathlib.Path) -> dict[str, Any]:
    """The configuration in a run's folder, with all fields of its tasks.

    Raises:
      JaxpartError: It is missing or damaged, or another version of jaxpart wrote it.
    """
    config = read_json(file, "copy it again")
    written = dict(fields_of(config))
    for path, rule in _fields_for(config):
        if path not in written:
            raise JaxpartError(
                f"{file} has no {path}, so it is not of a run by this version of jaxpart; run again"
            )
        if fault := rule.fault(written[path]):
            raise JaxpartError(f"{file} is damaged: {path} {fault}; copy it again")
    return config


_OF_FUNCTIONS = ("weights", "checkpoint_key", "image_size", "pixels", "version")


def _check_encoder(encoder: Any) -> None:
    """Raises `JaxpartError` for options that do not apply to the kind of encoder."""
    kinds = [name for name in ("checkpoint", "callable", "features") if encoder[name]]
    if len(kinds) > 1:
        raise JaxpartError(
            f"{' and '.join(f'config.encoder.{name}' for name in kinds)} are {len(kinds)} encoders; name "
            f"one of them"
        )
    allowed = {"callable": _OF_FUNCTIONS, "features": ("image_size",)}.get(
        kinds[0] if kinds else "", ()
    )
    for name in _OF_FUNCTIONS:
        if encoder[name] and name not in allowed:
            raise JaxpartError(
                f"config.encoder.{name} applies only to a config.encoder.callable; name one, or "
                "leave it out"
            )
    if kinds and kinds[0] != "checkpoint" and encoder.patch_order != "kept":
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
    for task in CLASSIFICATIONS:
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

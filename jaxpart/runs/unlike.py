"""Differences between compared runs that affect their results: options, precision, images."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxpart.io.files import read_json
from jaxpart.runs.config_checks import read_config
from jaxpart.runs.config_rules import fields_of
from jaxpart.runs.workdir import IDENTITY
from jaxpart.tasks.segmentation.options import setting_name

_SHARED = ("encoder.precision", "encoder.patch_order", "features.precision")
_OF_CRITTERS = ("data.seed", "data.num_images", "data.image_size", "data.version")
_IRRELEVANT = (
    "retrieval.batch_size",
    "retrieval.untrained",
    "correspondence.batch_size",
    "correspondence.sets",
    "unsupervised_parts.batch_size",
    "unsupervised_parts.methods",
    "unsupervised_parts.parts",
    "unsupervised_parts.pictures",
    "segmentation.sets",
    "segmentation.readouts",
    "segmentation.shares",
    "segmentation.pictures",
    "segmentation.in_memory",
    "segmentation.window_batch",
)
_IRRELEVANT_SUFFIXES = (
    ".representations",
    ".heads",
    ".references",
    ".workers",
    ".on_error",
    ".selection",
    ".own_classifier",
    ".encoder_batch_size",
)
"""Task fields that do not affect a single result, only which results are computed and how."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """The configuration and inputs of a run.

    Attributes:
      label: Its name in messages.
      config: Its whole configuration; empty if unknown.
      identity: Identities of its encoder and data, see `WorkDir.belongs_to`.
    """

    label: str
    config: Mapping[str, Any]
    identity: Mapping[str, Any]


def read_facts(folder: pathlib.Path, label: str) -> Facts:
    """Reads the facts of a work directory; missing files count as empty.

    Raises:
      JaxpartError: A file is damaged, or another version of jaxpart wrote it.
    """
    config, identity = folder / "config.json", folder / IDENTITY
    return Facts(
        label,
        read_config(config) if config.is_file() else {},
        read_json(identity, "copy it again") if identity.is_file() else {},
    )


def unlike(runs: Sequence[Facts], task: str, data: Sequence[str]) -> list[str]:
    """A sentence for each difference between runs that affects the results of a task.

    Args:
      runs: The compared runs.
      task: Name of the task.
      data: The results' data sets.
    """
    sentences = []
    by_run = {run.label: dict(relevant(run.config, task, data)) for run in runs if run.config}
    for name in dict.fromkeys(name for fields in by_run.values() for name in fields):
        values = {label: fields.get(name) for label, fields in by_run.items()}
        if groups := _groups(values):
            shown = "; ".join(
                f"{'not recorded' if value == 'None' else value} ({', '.join(labels)})"
                for value, labels in groups.items()
            )
            sentences.append(f"They differ in {name}: {shown}.")
    of_data = tuple(f"the data of {name}/{task} (" for name in data)
    for what in dict.fromkeys(key for run in runs for key in run.identity):
        values = {run.label: run.identity[what] for run in runs if what in run.identity}
        if what.startswith(of_data) and (groups := _groups(values)):
            shown = " against ".join(", ".join(labels) for labels in groups.values())
            sentences.append(
                f"They did not use the same images and annotations, {what.removeprefix('the data of ')}: "
                f"{shown}."
            )
    return sentences


def _groups(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Labels by value; empty if all have the same value."""
    groups: dict[str, list[str]] = {}
    for label, value in values.items():
        groups.setdefault(str(value), []).append(label)
    return groups if len(groups) > 1 else {}


def relevant(
    config: Mapping[str, Any], task: str, data: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """Yields the fields of a configuration that affect a task's results on some data, with their values."""
    critters = any(name.startswith("critters") for name in data)
    settings = tuple(f"segmentation.settings.{setting_name(name)}." for name in data)
    tasks = (f"{task}.", "retrieval.") if task == "layers" else (f"{task}.",)
    for name, value in fields_of(config):
        if name in _SHARED or (critters and name in _OF_CRITTERS):
            yield name, value
        elif name.startswith("segmentation.settings."):
            if task == "segmentation" and name.startswith(settings):
                yield name, value
        elif (
            name.startswith(tasks)
            and name not in _IRRELEVANT
            and not name.endswith(_IRRELEVANT_SUFFIXES)
        ):
            yield name, value

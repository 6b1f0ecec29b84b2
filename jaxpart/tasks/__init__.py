"""The tasks: each evaluates a frozen encoder on data sets and yields rows."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Row
from jaxpart.runs.table import Section

if TYPE_CHECKING:
    from jaxpart.tasks.plans import Plan


@dataclasses.dataclass(frozen=True)
class Task:
    """One experiment.

    Attributes:
      plans: Takes the encoder, the whole configuration and the progress; opens and checks everything,
        and yields a plan per data set. Nothing is encoded or written.
      section: Builds its section of the result table from the rows of all tasks.
      check: Raises `JaxpartError` for an invalid configuration, before anything is opened.
      rules: Takes the encoder and the whole configuration; returns the rules applied to this encoder by
        default, by name, to be recorded in the results.
    """

    plans: Callable[[FrozenEncoder, Any, Progress], Iterator[Plan]]
    section: Callable[[Sequence[Row]], Section]
    check: Callable[[Any], None] = lambda config: None
    rules: Callable[[FrozenEncoder, Any], Mapping[str, str]] = lambda encoder, config: {}


TASKS = {
    "retrieval": "retrieval",
    "classification": "classification.parts",
    "object_classification": "classification.objects",
    "segmentation": "segmentation.experiment",
    "layers": "layers",
    "masked_parts": "masked_parts.experiment",
    "attention": "attention",
    "correspondence": "correspondence.experiment",
    "unsupervised_parts": "unsupervised_parts.experiment",
}
"""The module of each task, in the order of the result table."""


def find(name: str) -> Task:
    """The task of this name, a key of `TASKS`."""
    module = importlib.import_module(f"{__name__}.{TASKS[name]}")
    optional = {name: getattr(module, name) for name in ("check", "rules") if hasattr(module, name)}
    return Task(module.plans, module.section, **optional)


def chosen(config: Any) -> dict[str, Task]:
    """A configuration's tasks by name.

    Raises:
      JaxpartError: Options of a task cannot be used.
    """
    tasks = {name: find(name) for name in config.tasks}
    for task in tasks.values():
        task.check(config)
    return tasks

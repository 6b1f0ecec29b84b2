"""The experiments: each a function of a frozen encoder and data sets that yields (name, value) pairs."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jaxpart.encoders.encoder import Encoder
from jaxpart.errors import JaxpartError
from jaxpart.progress import Progress
from jaxpart.table import Section
from jaxpart.workdir import WorkDir

Values = Iterator[tuple[str, float | int]]


@dataclasses.dataclass(frozen=True)
class Task:
    """One experiment.

    Attributes:
      run: Takes the encoder, the whole configuration, the work directory and the progress; yields
        names below "DATA/TASK/" with their values.
      section: Its part of the result table, from the values of all tasks by name.
    """

    run: Callable[[Encoder, Any, WorkDir, Progress], Values]
    section: Callable[[Mapping[str, float | int]], Section]


TASKS = (
    "retrieval",
    "classification",
    "object_classification",
    "segmentation",
    "layers",
    "hidden_parts",
)
"""Tasks by the name of their module, in the order of the result table."""


def find(name: str) -> Task:
    """The task of that name.

    Raises:
      JaxpartError: There is none.
    """
    if name not in TASKS:
        raise JaxpartError(f"there is no task {name!r}; choose among {', '.join(TASKS)}")
    module = importlib.import_module(f"{__name__}.{name}")
    return Task(module.run, module.section)


def to_run(names: Sequence[str]) -> list[Task]:
    """Tasks in the order in which they are best run, whatever the order they are named in.

    Classification comes first: where it tests, it has the encoder make retrieval's features too, so
    that every view of an image is encoded once.

    Raises:
      JaxpartError: There is no such task.
    """
    return [find(name) for name in sorted(names, key=lambda name: name != "classification")]

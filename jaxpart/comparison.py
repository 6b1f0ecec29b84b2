"""Compares two runs on the same test items: python -m jaxpart.comparison RUNS/A RUNS/B

Every result that both work directories hold under the same name is compared item by item: the difference
with its 95 % interval, and how likely such a difference is by chance. Classifiers are compared over test
items (McNemar's exact test with one seed), retrieval and segmentation over images. Differences in options
and images are listed below the table.
"""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator

import numpy as np

from jaxpart.errors import JaxpartError
from jaxpart.io.files import parse_json, path_of
from jaxpart.metrics.accuracy import Difference, item_scores, paired_difference
from jaxpart.metrics.paired import retrieval_difference, segmentation_difference
from jaxpart.runs.items import read_items
from jaxpart.runs.rows import Key
from jaxpart.runs.table import Section, encoder_name, percent, sections_text
from jaxpart.runs.unlike import read_facts, unlike

_ADVICE = "run its configuration again"
_READINGS = ("best", "last", "chosen")
_Items = dict[str, np.ndarray]
_Results = dict[Key, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A task's per-item results, stored in TASK_DATA.npz, and how to compare them.

    Attributes:
      title: The task in words.
      items: Arrays that are equal where runs were tested on the same items.
      metrics: Metrics of the arrays to compare.
      difference: Compares two runs' arrays of a result, given the items.
      metric: Metric of the result, if it differs from its arrays'.
    """

    title: str
    items: tuple[str, ...]
    metrics: tuple[str, ...]
    difference: Callable[[np.ndarray, np.ndarray, _Items], Difference]
    metric: str = ""


def _classified(a: np.ndarray, b: np.ndarray, items: _Items) -> Difference:
    return paired_difference(*(item_scores(array, items["labels"]) for array in (a, b)))


def _retrieved(a: np.ndarray, b: np.ndarray, items: _Items) -> Difference:
    return retrieval_difference(a, b, items["images"])


def _erred(a: np.ndarray, b: np.ndarray, items: _Items) -> Difference:
    difference = retrieval_difference(a, b, items["images"])
    # Lower is better.
    return dataclasses.replace(
        difference, first_only=difference.second_only, second_only=difference.first_only
    )


def _segmented(a: np.ndarray, b: np.ndarray, items: _Items) -> Difference:
    return segmentation_difference(a, b)


_CLASSIFIED = ("ids", "labels", "classes")
_KINDS = {
    "retrieval": _Kind(
        "part retrieval", ("ids", "parts", "images", "exclude_self"), ("AP",), _retrieved
    ),
    "object_classification": _Kind("object classification", _CLASSIFIED, _READINGS, _classified),
    "classification": _Kind("part classification", _CLASSIFIED, _READINGS, _classified),
    "correspondence": _Kind(
        "correspondence", ("pairs", "images", "options"), ("PCK@0.10 by image",), _retrieved
    ),
    "unsupervised_parts": _Kind(
        "unsupervised parts",
        ("ids", "keypoints", "images", "options"),
        ("keypoint error, box", "keypoint error, image"),
        _erred,
    ),
    "segmentation": _Kind(
        "segmentation", ("ids", "classes", "labelled"), ("counts",), _segmented, "mIoU"
    ),
}


def compare_runs(first: str | pathlib.Path, second: str | pathlib.Path) -> dict[Key, Difference]:
    """Compares the results of two work directories.

    Args:
      first: Work directory of a run that retrieved, classified or segmented.
      second: Another.

    Returns:
      The first minus the second, for each result that both have.

    Raises:
      JaxpartError: A folder holds no items, the runs have none in common, a file is damaged, or the items
        differ.
    """
    folders = [path_of(first), path_of(second)]
    names = [
        {path.stem for path in folder.glob("*.npz") if _task_of(path.stem)} for folder in folders
    ]
    for folder, stems in zip(folders, names, strict=True):
        if not stems:
            raise JaxpartError(
                f"{folder} holds no per-item results; name the work directory of a run that "
                f"retrieved, classified or segmented with this version of jaxpart"
            )
    common = sorted(names[0] & names[1])
    if not common:
        raise JaxpartError(
            f"{folders[0]} has {', '.join(sorted(names[0]))} and {folders[1]} has "
            f"{', '.join(sorted(names[1]))}; compare runs of the same tasks on the same data set"
        )
    return {
        key: difference
        for name in common
        for key, difference in _compare(name, *(folder / f"{name}.npz" for folder in folders))
    }


def _task_of(stem: str) -> str | None:
    return next((task for task in _KINDS if stem.startswith(f"{task}_")), None)


def _compare(
    name: str, first: pathlib.Path, second: pathlib.Path
) -> Iterator[tuple[Key, Difference]]:
    kind = _KINDS[_task_of(name) or ""]
    (items, a), (others, b) = (_read(path, kind) for path in (first, second))
    for what in kind.items:
        if not np.array_equal(items[what], others[what]):
            raise JaxpartError(
                f"{first} and {second} were tested on different items (their {what} differ); run both "
                f"with the same data options"
            )
    for key in a:
        if key.metric in kind.metrics and key in b:
            result = key._replace(metric=kind.metric or key.metric)
            yield result, kind.difference(a[key], b[key], items)


def _read(path: pathlib.Path, kind: _Kind) -> tuple[_Items, _Results]:
    items, results = read_items(path, _ADVICE)
    for what in kind.items:
        if what not in items:
            raise JaxpartError(f"{path} holds no {what}; {_ADVICE}")
    return items, results


def encoder_of(folder: str | pathlib.Path) -> str:
    """A run's encoder as named in titles: name and state, first digits of its digest, and folder.

    Raises:
      JaxpartError: The run has not ended, or its results.json is damaged.
    """
    file = path_of(folder) / "results.json"
    if not file.is_file():
        raise JaxpartError(f"{folder} has no results.json: let that run finish first")
    try:
        about = parse_json(file.read_bytes())["encoder"]
        return f"{encoder_name(about)} {about['digest'][:12]} of {folder}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JaxpartError(f"{file} is damaged ({error!r}); run its configuration again") from error


@terminal.entry_point
def main() -> int:
    """Prints the comparison; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("first", help="work directory")
    parser.add_argument("second", help="work directory")
    arguments = parser.parse_args()
    differences = compare_runs(arguments.first, arguments.second)
    title = " minus ".join(encoder_of(folder) for folder in (arguments.first, arguments.second))
    sections = []
    for task, kind in _KINDS.items():
        rows = [
            (
                f"{key.data}, {key.label}",
                percent(difference.value),
                f"{percent(difference.low)} to {percent(difference.high)}",
                f"{difference.p:.2g}",
                f"{difference.first_only} better, {difference.second_only} worse",
            )
            for key, difference in differences.items()
            if key.task == task
        ]
        if rows:
            sections.append(Section((kind.title, "points", "95 % interval", "p", "items"), rows))
    print(sections_text(title, sections))
    facts = [read_facts(path_of(f), f) for f in (arguments.first, arguments.second)]
    for task in _KINDS:
        data = dict.fromkeys(key.data for key in differences if key.task == task)
        for sentence in unlike(facts, task, list(data)) if data else ():
            print(f"{_KINDS[task].title}: {sentence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

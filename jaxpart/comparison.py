"""Two runs on the same test items, compared: python -m jaxpart.comparison RUNS/A RUNS/B

Every result that both work directories hold under the same name is compared item by item: the difference
with its 95 % interval, and how likely such a difference is by chance. Classifiers are compared over test
items (McNemar's exact test with one seed), retrieval and segmentation over images.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator

import numpy as np

from jaxpart.errors import JaxpartError, told
from jaxpart.io.files import parse_json
from jaxpart.io.npz import read_npz
from jaxpart.metrics.accuracy import Difference, item_scores, paired_difference
from jaxpart.metrics.paired import retrieval_difference, segmentation_difference
from jaxpart.runs.table import Section, encoder_name, percent, sections_text

_ADVICE = "run its configuration again"
_READINGS = ("best", "last", "chosen")
_Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What runs keep of the items of a task, in a file TASK_DATA.npz.

    Attributes:
      title: The task in words.
      items: Arrays that are equal where runs were tested on the same items.
      compare: From the arrays of both runs, each result's difference.
    """

    title: str
    items: tuple[str, ...]
    compare: Callable[[_Arrays, _Arrays], Iterator[tuple[str, Difference]]]


def _classifiers(a: _Arrays, b: _Arrays) -> Iterator[tuple[str, Difference]]:
    for name in a:
        if name.rsplit("/", 1)[-1] in _READINGS and name in b:
            scores = [item_scores(run[name], run["labels"]) for run in (a, b)]
            yield name, paired_difference(*scores)


def _retrieved(a: _Arrays, b: _Arrays) -> Iterator[tuple[str, Difference]]:
    for name in a:
        if name.endswith("/AP") and name in b:
            yield name, retrieval_difference(a[name], b[name], a["images"])


def _segmented(a: _Arrays, b: _Arrays) -> Iterator[tuple[str, Difference]]:
    for name in a:
        if name.endswith("/counts") and name in b:
            result = f"{name.removesuffix('/counts')}/mIoU"
            yield result, segmentation_difference(a[name], b[name])


_CLASSIFIED = ("ids", "labels", "classes")
_KINDS = {
    "retrieval": _Kind("part retrieval", ("ids", "parts", "images", "exclude_self"), _retrieved),
    "object_classification": _Kind("object classification", _CLASSIFIED, _classifiers),
    "classification": _Kind("part classification", _CLASSIFIED, _classifiers),
    "segmentation": _Kind("segmentation", ("ids", "classes", "labelled"), _segmented),
}


def compare_runs(
    first: str | pathlib.Path, second: str | pathlib.Path
) -> dict[str, dict[str, Difference]]:
    """Compares the results of two work directories.

    Args:
      first: Work directory of a run that retrieved, classified or segmented.
      second: Another.

    Returns:
      By the name of the file that both have ("classification_cub_parts"), and by the name of the result
      ("linear/cls_token/chosen", "embedding/AP", "paper/mIoU"): the first minus the second.

    Raises:
      JaxpartError: A folder holds no items, the runs have none in common, a file is damaged, or the items
        differ.
    """
    folders = [pathlib.Path(first), pathlib.Path(second)]
    names = [
        {path.stem for path in folder.glob("*.npz") if _task_of(path.stem)} for folder in folders
    ]
    for folder, mine in zip(folders, names, strict=True):
        if not mine:
            raise JaxpartError(
                f"{folder} holds no results of single items; name the work directory of a run that "
                f"retrieved, classified or segmented with this version of jaxpart"
            )
    common = sorted(names[0] & names[1])
    if not common:
        raise JaxpartError(
            f"{folders[0]} has {', '.join(sorted(names[0]))} and {folders[1]} has "
            f"{', '.join(sorted(names[1]))}; compare runs of the same tasks on the same data set"
        )
    return {
        name: dict(_compare(name, *(folder / f"{name}.npz" for folder in folders)))
        for name in common
    }


def _task_of(stem: str) -> str | None:
    return next((task for task in _KINDS if stem.startswith(f"{task}_")), None)


def _compare(
    name: str, first: pathlib.Path, second: pathlib.Path
) -> Iterator[tuple[str, Difference]]:
    kind = _KINDS[_task_of(name) or ""]
    a, b = (_read(path, kind) for path in (first, second))
    for key in kind.items:
        if not np.array_equal(a[key], b[key]):
            raise JaxpartError(
                f"{first} and {second} were tested on different items (their {key} differ); run both "
                f"with the same data options"
            )
    yield from kind.compare(a, b)


def _read(path: pathlib.Path, kind: _Kind) -> _Arrays:
    found = read_npz(path, _ADVICE)
    for key in kind.items:
        if key not in found:
            raise JaxpartError(f"{path} holds no {key}; {_ADVICE}")
    return found


def encoder_of(folder: str | pathlib.Path) -> str:
    """The encoder of a run as a title names it: its name and state, its digest's beginning, the folder.

    Raises:
      JaxpartError: The run has not ended, or its results.json is damaged.
    """
    file = pathlib.Path(folder) / "results.json"
    if not file.is_file():
        raise JaxpartError(f"{folder} has no results.json: let that run come to its end first")
    try:
        about = parse_json(file.read_bytes())["encoder"]
        return f"{encoder_name(about)} {about['digest'][:12]} of {folder}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JaxpartError(f"{file} is damaged ({error!r}); run its configuration again") from error


@told
def main() -> int:
    """Prints the comparison; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("first", help="work directory")
    parser.add_argument("second", help="work directory")
    arguments = parser.parse_args()
    found = compare_runs(arguments.first, arguments.second)
    title = " minus ".join(encoder_of(folder) for folder in (arguments.first, arguments.second))
    sections = []
    for task, kind in _KINDS.items():
        rows = [
            (
                f"{name.removeprefix(f'{task}_')}, {result}",
                percent(difference.value),
                f"{percent(difference.low)} to {percent(difference.high)}",
                f"{difference.p:.2g}",
                f"{difference.first_only} better, {difference.second_only} worse",
            )
            for name, results in found.items()
            if _task_of(name) == task
            for result, difference in results.items()
        ]
        if rows:
            sections.append(Section((kind.title, "points", "95 % interval", "p", "items"), rows))
    print(sections_text(title, sections))
    return 0


if __name__ == "__main__":
    sys.exit(main())

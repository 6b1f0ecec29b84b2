"""Two runs on the same test items, compared: python -m jaxpart.comparison RUNS/A RUNS/B

Every classifier that both work directories hold under the same name is compared item by item: the
difference of accuracies with its 95 % interval, and how likely such a difference is by chance (McNemar's
exact test with one seed).
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Iterator

import numpy as np

from jaxpart.errors import JaxpartError, told
from jaxpart.metrics.accuracy import Difference, item_scores, paired_difference
from jaxpart.npz import read_npz
from jaxpart.table import Section, percent, sections_text

_ADVICE = "run its configuration again"
_READINGS = ("best", "last", "chosen")


def compare_runs(
    first: str | pathlib.Path, second: str | pathlib.Path
) -> dict[str, dict[str, Difference]]:
    """Compares the classifiers of two work directories.

    Args:
      first: Work directory of a run that classified.
      second: Another.

    Returns:
      By the name of the file that both have ("classification_cub"), and by the name of the result
      ("linear/cls_token/chosen"): the first minus the second.

    Raises:
      JaxpartError: A folder holds no predictions, the runs have none in common, a file is damaged, or
        the test items differ.
    """
    folders = [pathlib.Path(first), pathlib.Path(second)]
    names = [{path.stem for path in folder.glob("*classification_*.npz")} for folder in folders]
    for folder, mine in zip(folders, names, strict=True):
        if not mine:
            raise JaxpartError(
                f"{folder} holds no predictions of a classification; name the work directory of a run "
                f"with that task"
            )
    common = sorted(names[0] & names[1])
    if not common:
        raise JaxpartError(
            f"{folders[0]} has {', '.join(sorted(names[0]))} and {folders[1]} has "
            f"{', '.join(sorted(names[1]))}; compare runs on the same data set"
        )
    return {
        name: dict(_compare(*(folder / f"{name}.npz" for folder in folders))) for name in common
    }


def _compare(first: pathlib.Path, second: pathlib.Path) -> Iterator[tuple[str, Difference]]:
    a, b = _read(first), _read(second)
    for key in ("ids", "labels", "classes"):
        if not np.array_equal(a[key], b[key]):
            raise JaxpartError(
                f"{first} and {second} were tested on different items (their {key} differ); run both "
                f"with the same data options"
            )
    for name in a:
        if name.rsplit("/", 1)[-1] in _READINGS and name in b:
            scores = [item_scores(run[name], run["labels"]) for run in (a, b)]
            yield name, paired_difference(*scores)


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    found = read_npz(path, _ADVICE)
    for key in ("ids", "labels", "classes"):
        if key not in found:
            raise JaxpartError(f"{path} holds no {key}; {_ADVICE}")
    return found


@told
def main() -> int:
    """Prints the comparison; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("first", help="work directory")
    parser.add_argument("second", help="work directory")
    arguments = parser.parse_args()
    found = compare_runs(arguments.first, arguments.second)
    rows = [
        (
            f"{name.split('_')[-1]}, {result}",
            percent(difference.value),
            f"{percent(difference.low)} to {percent(difference.high)}",
            f"{difference.p:.2g}",
            f"better on {difference.first_only} items, worse on {difference.second_only}",
        )
        for name, results in found.items()
        for result, difference in results.items()
    ]
    columns = ("first minus second", "points", "95 % interval", "p", "items")
    print(sections_text(None, [Section(columns, rows)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

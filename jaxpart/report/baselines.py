"""Beside encoders that retrieve: what chance and pixels give, and who does not do better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxpart.report.runs import Run
from jaxpart.tasks.baselines import BASELINES, label, strongest

_TASK, _AP = "/retrieval/", "/AP"


def baseline_keys(key: str) -> Iterator[tuple[str, str]]:
    """What stands below a result of retrieval: each baseline's label, and the name of its result.

    Args:
      key: "cub/retrieval/embedding/AP"; of other results there are none.
    """
    data, task, rest = key.partition(_TASK)
    representation = rest.removesuffix(_AP)
    if not task or representation == rest or representation.startswith("baseline/"):
        return
    for name in BASELINES:
        below = f"{name}/{representation}" if name == "untrained" else name
        yield label(name), f"{data}{_TASK}baseline/{below}{_AP}"


def baseline_rows(runs: Sequence[Run], keys: Sequence[str]) -> Iterator[tuple[str, Run, list[str]]]:
    """Rows for below a table: their label, a run that has them, and the names of its results.

    Runs on the same patches have the same baselines and share a row.

    Args:
      runs: Those of the table.
      keys: The result in each column.
    """
    columns = [dict(baseline_keys(key)) for key in keys]
    for title in BASELINES.values():
        names = [column.get(title, "") for column in columns]
        groups: dict[tuple[float | None, ...], list[Run]] = {}
        for run in runs:
            there = [round(run.values[name], 9) if name in run.values else None for name in names]
            if any(value is not None for value in there):
                groups.setdefault(tuple(there), []).append(run)
        for members in groups.values():
            of = ", ".join(run.label for run in members)
            yield title if len(groups) == 1 else f"{title}, of {of}", members[0], names


def not_above(run: Run, keys: Sequence[str]) -> str:
    """A sentence on the results of a run that are no better than a baseline; "" if all are."""
    told = []
    for key in keys:
        data, task, rest = key.partition(_TASK)
        best = strongest(run.values, f"{data}/retrieval") if task else None
        if best and key in run.values and run.values[key] <= best[1]:
            representation = rest.removesuffix(_AP)
            told.append(
                f"{representation} on {data} ({100 * run.values[key]:.1f}) than {best[0]} "
                f"({100 * best[1]:.1f})"
            )
    return f"{run.label} retrieves no better by {', '.join(told)}." if told else ""

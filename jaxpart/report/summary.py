"""The first table of a report: the main results of every run in one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxpart.report.baselines import baseline_rows, compared_row
from jaxpart.report.runs import Run
from jaxpart.report.tables import ABREAST, Line, Table, cell_of, joined
from jaxpart.runs.rows import Key, find_row, select
from jaxpart.runs.unlike import unlike
from jaxpart.tasks.baselines import UNTRAINED_LABEL, strongest

_MAIN = {
    "retrieval, encoded": ("retrieval", "AP", "", "embedding"),
    "retrieval, projected": ("retrieval", "AP", "", "projection"),
    "part probing, linear, best epoch": ("classification", "best", "linear", "cls_token"),
    "part probing, attentive, best epoch": ("classification", "best", "attentive", "tokens"),
    "object probing, linear, best epoch": ("object_classification", "best", "linear", "cls_token"),
    "object probing, attentive, best epoch": (
        "object_classification",
        "best",
        "attentive",
        "tokens",
    ),
    "mIoU": ("segmentation", "mIoU", "paper", ""),
    "correspondence, PCK@0.10": ("correspondence", "PCK@0.10", "", "tokens"),
}
"""A column's heading, and the task, metric, head and representation of its results."""


def summaries(runs: Sequence[Run]) -> list[Table]:
    """A row for each run, and below them the retrieval baselines, without the paper's numbers.

    Columns that do not fit side by side are split into several tables, each data set in one."""
    by_data: dict[str, dict[str, Key]] = {}
    for heading, (task, metric, head, representation) in _MAIN.items():
        fields = {"task": task, "metric": metric, "head": head, "representation": representation}
        for run in runs:
            for row in select(run.rows, group="", **fields):
                by_data.setdefault(row.data, {})[f"{heading} ({row.data})"] = row.key
    tables: list[dict[str, Key]] = []
    for columns in by_data.values():
        if tables and len(tables[-1]) + len(columns) <= ABREAST:
            tables[-1] |= columns
        else:
            tables.append(columns)
    return [_summary(runs, columns, number) for number, columns in enumerate(tables, 1)]


def _summary(runs: Sequence[Run], columns: Mapping[str, Key], number: int) -> Table:
    keys = list(columns.values())
    runs = [run for run in runs if any(find_row(run.rows, *key) for key in keys)]
    caveats = [joined(run.caveat, run.arithmetic) for run in runs]
    shared = caveats[0] if len(set(caveats)) == 1 and len(runs) > 1 else ""
    rows = [
        Line(
            run.label,
            "" if shared else caveat,
            [cell_of(find_row(run.rows, *key), None) for key in keys],
        )
        for run, caveat in zip(runs, caveats, strict=True)
    ]
    for label, baselines in baseline_rows(runs, keys):
        if not label.startswith(UNTRAINED_LABEL):
            rows.append(Line(f"baseline: {label}", "", [cell_of(row, None) for row in baselines]))
    notes = [f"All encoders: {shared}."] if shared else []
    for task, data in dict.fromkeys((key.task, key.data) for key in keys):
        notes += [f"{task}, {data}: {sentence}" for sentence in unlike(runs, task, [data])]
    name = "summary" if number == 1 else f"summary_{number}"
    return Table(name, "Summary", list(columns), rows, False, notes + _beaten(runs, columns))


def _beaten(runs: Sequence[Run], columns: Mapping[str, Key]) -> list[str]:
    """A line for each encoder that is no better than the best baseline on its patches."""
    notes = []
    for heading, key in columns.items():
        measured = [run for run in runs if find_row(run.rows, *key)]
        groups: dict[tuple[str, float], list[str]] = {}
        for run in measured:
            best, row = strongest(run.rows, key.data, key.task), compared_row(run, key)
            if best and row and row.value <= best[1]:
                groups.setdefault(best, []).append(run.label)
        for (label, value), beaten in groups.items():
            all_beaten = len(beaten) == len(measured) > 1
            verb = "is not" if len(beaten) == 1 else "are not"
            subject = "no encoder is" if all_beaten else f"{', '.join(beaten)} {verb}"
            notes.append(f"{heading}: {subject} above {label} ({100 * value:.1f}).")
    return notes

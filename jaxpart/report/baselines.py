"""Baselines of part retrieval and classification, and which encoders do not beat them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxpart.report.runs import Run
from jaxpart.runs.rows import Key, Row, find_row
from jaxpart.tasks.baselines import (
    BASELINE,
    BASELINES,
    METRICS,
    UNTRAINED,
    UNTRAINED_LABEL,
    label,
    strongest,
)


def baseline_keys(key: Key) -> dict[str, Key]:
    """The baselines of a result: each baseline's result by its label.

    Args:
      key: The AP of a representation in retrieval, or the accuracy of a head on parts; other results have
        no baselines.
    """
    retrieved = (key.task, key.metric, key.head) == ("retrieval", "AP", "")
    if not retrieved and key.task != "classification":
        return {}
    level = key._replace(head=BASELINE, metric=METRICS[key.task])
    by_label = {title: level._replace(representation=name) for name, title in BASELINES.items()}
    return by_label | ({UNTRAINED_LABEL: key._replace(head=UNTRAINED)} if retrieved else {})


def baseline_rows(
    runs: Sequence[Run], keys: Sequence[Key]
) -> Iterator[tuple[str, list[Row | None]]]:
    """The baseline rows of a table: their label, and the result in each column.

    Runs on the same patches have the same baselines and share a row.

    Args:
      runs: The runs in the table.
      keys: The result that each column shows.
    """
    columns = [baseline_keys(key) for key in keys]
    for title in (*BASELINES.values(), UNTRAINED_LABEL):
        groups: dict[tuple[float | None, ...], list[tuple[Run, list[Row | None]]]] = {}
        for run in runs:
            results = [find_row(run.rows, *c[title]) if title in c else None for c in columns]
            if any(results):
                values = tuple(None if row is None else round(row.value, 9) for row in results)
                groups.setdefault(values, []).append((run, results))
        for members in groups.values():
            labels = ", ".join(run.label for run, _ in members)
            yield title if len(groups) == 1 else f"{title}, of {labels}", members[0][1]


def compared_row(run: Run, key: Key) -> Row | None:
    """The result to compare with baselines: a probe's at the epoch chosen without the test set, if any."""
    chosen = find_row(run.rows, *key._replace(metric="chosen")) if key.metric == "best" else None
    return chosen or find_row(run.rows, *key)


def not_above(run: Run, keys: Sequence[Key]) -> str:
    """A sentence on the results of a run that are no better than a baseline; "" if all are."""
    sentences = []
    for key in keys:
        best = strongest(run.rows, key.data, key.task)
        row = compared_row(run, key)
        if best and row and row.value <= best[1]:
            chosen = ", at the chosen epoch," if row.metric != key.metric else ""
            sentences.append(
                f"{label(key)}{chosen} on {key.data} ({100 * row.value:.1f}) is not above {best[0]} "
                f"({100 * best[1]:.1f})"
            )
    return f"{run.label}: {'; '.join(sentences)}." if sentences else ""

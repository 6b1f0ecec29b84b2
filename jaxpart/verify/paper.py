"""The paper's numbers, by the keys of our results."""

from __future__ import annotations

from collections.abc import Iterable

from jaxpart.report.layouts import LAYOUTS, Column
from jaxpart.runs.paper import METHODS, figure
from jaxpart.runs.rows import Key

_PROBED = {"linear": "cls_token", "attentive": "tokens"}


def _key(column: Column) -> Key:
    """The key of a column's results; the columns of ImageNet leave the representation open."""
    key = Key(**column.results[0])
    return (
        key if key.task == "retrieval" else key._replace(representation=_PROBED.get(key.head, ""))
    )


_COLUMNS = {
    _key(column): (column.table, column.column)
    for layout in LAYOUTS
    for column in layout.columns
    if column.table
}
"""Table and column of each result that the paper reports."""


def paper_values(method: str, keys: Iterable[Key]) -> dict[Key, float]:
    """The paper's numbers, as fractions, for the results that it reports.

    Args:
      method: The method, "ibot".
      keys: The results.
    """
    values = {}
    for key in keys:
        if key in _COLUMNS:
            percent = figure(_COLUMNS[key][0], METHODS.get(method, ""), _COLUMNS[key][1])
            if percent is not None:
                values[key] = percent / 100
    return values

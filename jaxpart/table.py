"""The table that a run prints at its end."""

from __future__ import annotations

import io
from typing import Any

import rich.box
import rich.console
import rich.table

_WIDTH = 100


def results_table(results: dict[str, Any]) -> str:
    """Part retrieval by data set and representation, in percent, as text.

    Args:
      results: What results.json holds.
    """
    encoder, values = results["encoder"], results["values"]
    trained = (
        "" if encoder["trained"] else " (UNTRAINED, random weights: says nothing of the method)"
    )
    table = rich.table.Table(title=f"{encoder['name']}{trained}", box=rich.box.SIMPLE)
    table.add_column("part retrieval")
    for name in ("patches", "AP", "mAP"):
        table.add_column(name, justify="right")
    table.add_column("AP of each part")
    for key, value in values.items():
        *place, metric = key.split("/")
        if metric == "AP":
            data, _, *representation = place
            prefix = "/".join(place)
            parts = {
                k.removeprefix(f"{prefix}/part/"): v
                for k, v in values.items()
                if k.startswith(f"{prefix}/part/")
            }
            table.add_row(
                f"{data}, {'/'.join(representation)}",
                str(values[f"{data}/retrieval/patches"]),
                f"{100 * value:.1f}",
                f"{100 * values[f'{prefix}/mAP']:.1f}",
                ", ".join(f"{part} {100 * ap:.1f}" for part, ap in parts.items()),
            )
    text = io.StringIO()
    rich.console.Console(file=text, width=_WIDTH).print(table)
    return text.getvalue().rstrip()

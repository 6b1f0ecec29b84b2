"""What the benchmarks share: interleaved medians and one way to print and keep their rows."""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Callable


def medians(runs: int, **functions: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each function; runs take turns, so that noise falls on all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(rows: dict[str, object], description: str) -> None:
    """Prints a table, and writes it as JSON where `--json PATH` is given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--json", type=pathlib.Path, metavar="PATH", help="write the rows there too"
    )
    path = parser.parse_args().json
    width = max(map(len, rows))
    for name, value in rows.items():
        print(
            f"{name:{width}}  {value:.4g}"
            if isinstance(value, float)
            else f"{name:{width}}  {value}"
        )
    if path is not None:
        path.write_text(json.dumps(rows, indent=1) + "\n")

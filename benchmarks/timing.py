"""Shared by the benchmarks: the rows they yield, interleaved medians, memory, and fresh processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

_side: Callable[[], Any]
"""The callable of this process; see `Apart`."""


class Row(NamedTuple):
    """A line of the table, made by `faster`, `share`, `value` or `missing`.

    Attributes:
      what: What was measured.
      ours: Our median; None if it could not be measured, for the reason in `what`.
      unit: Unit of both values.
      alternative: The alternative's value in the same run; None if there is no alternative.
      than: Name of the alternative, such as "PyTorch eager".
      ratio: Ratio of the two.
      goal: Goal for the ratio (or for our value without an alternative); "" if there is none.
      met: Whether the goal is met.
    """

    what: str
    ours: float | None = None
    unit: str = ""
    alternative: float | None = None
    than: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None


def faster(
    what: str,
    ours: float,
    alternative: float,
    than: str,
    goal: float | None = None,
    unit: str = "s",
) -> Row:
    """How many times faster ours is: at least `goal` times. All units except "s" are rates."""
    ratio = alternative / ours if unit == "s" else ours / alternative
    met = None if goal is None else ratio >= goal
    return Row(what, ours, unit, alternative, than, ratio, f"≥ {goal:g} ×" if goal else "", met)


def share(
    what: str, ours: float, alternative: float, than: str, unit: str, goal: float | None = None
) -> Row:
    """Ours as a multiple of the alternative: at most `goal` times."""
    ratio = ours / alternative
    met = None if goal is None else ratio <= goal
    return Row(what, ours, unit, alternative, than, ratio, f"≤ {goal:.2g} ×" if goal else "", met)


def value(
    what: str, ours: float, unit: str, *, least: float | None = None, most: float | None = None
) -> Row:
    """A measurement without an alternative, with at most one limit."""
    if least is not None:
        return Row(what, ours, unit, goal=f"≥ {least:g} {unit}".strip(), met=ours >= least)
    if most is not None:
        return Row(what, ours, unit, goal=f"≤ {most:g} {unit}".strip(), met=ours <= most)
    return Row(what, ours, unit)


def missing(what: str, why: str) -> Row:
    """A row for something that could not be measured here."""
    return Row(f"{what}: not measured, {why}")


def table(rows: list[tuple[str, Row]]) -> str:
    """A Markdown table of the rows of each benchmark."""
    cells = [("benchmark", "what", "ours", "the alternative", "ratio", "goal", "")]
    for name, row in rows:
        other = (
            "" if row.alternative is None else f"{_number(row.alternative, row.unit)}, {row.than}"
        )
        ratio = "" if row.ratio is None else f"{row.ratio:.3g} ×"
        met = {None: "", True: "met", False: "**missed**"}[row.met]
        ours = "" if row.ours is None else _number(row.ours, row.unit)
        cells.append((name, row.what, ours, other, ratio, row.goal, met))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, tuple("-" * width for width in widths))
    lines = [
        " | ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
        for line in cells
    ]
    return "\n".join(f"| {line} |" for line in lines)


def _number(value: float, unit: str) -> str:
    return (f"{value:,.0f} {unit}" if abs(value) >= 1000 else f"{value:.3g} {unit}").strip()


def medians(runs: int, **functions: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each function; runs alternate, so that noise affects all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a new process, which imports only the function's module."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


class Apart:
    """One side of a comparison in its own process, unaffected by the other sides' threads and memory.

    A context manager; calling it calls the object that `make(*arguments)` returned there, and waits.
    """

    def __init__(self, make: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
        """Starts the process."""
        self._pool = concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), _make, (make, *arguments)
        )

    def __call__(self) -> Any:
        """Returns the side's result."""
        return self._pool.submit(_call).result()

    def __enter__(self) -> Apart:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the process."""
        self._pool.shutdown()


def _make(make: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
    global _side
    _side = make(*arguments)


def _call() -> Any:
    return _side()


def memory(field: str = "VmHWM") -> float:
    """GiB used by this process (Linux): "VmRSS", or "VmHWM", its peak since `forget_peak`.

    Not from `getrusage`, where a process inherits its parent's peak.
    """
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**20


def forget_peak() -> None:
    """Resets the peak memory (Linux)."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")

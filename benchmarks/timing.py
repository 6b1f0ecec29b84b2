"""What the benchmarks share: the rows they yield, interleaved medians, memory, and fresh processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

_side: Callable[[], Any]
"""Of this process, see `Apart`."""


class Row(NamedTuple):
    """A line of the table, made by `faster`, `share`, `value` or `missing`.

    Attributes:
      what: What was measured.
      ours: Ours, a median; None where it could not be measured, as `what` says.
      unit: Of both.
      alternative: What the alternative took in the same run; None where there is none.
      than: The alternative, "PyTorch eager".
      ratio: Of the two.
      goal: What the ratio (without an alternative: ours) shall be; "" where nothing is promised.
      met: Whether it is.
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
    """How many times faster ours is: at least `goal` times. Units but seconds are rates."""
    ratio = alternative / ours if unit == "s" else ours / alternative
    met = None if goal is None else ratio >= goal
    return Row(what, ours, unit, alternative, than, ratio, f"≥ {goal:g} ×" if goal else "", met)


def share(
    what: str, ours: float, alternative: float, than: str, unit: str, goal: float | None = None
) -> Row:
    """How many times the alternative ours is: at most `goal` times."""
    ratio = ours / alternative
    met = None if goal is None else ratio <= goal
    return Row(what, ours, unit, alternative, than, ratio, f"≤ {goal:.2g} ×" if goal else "", met)


def value(
    what: str, ours: float, unit: str, *, least: float | None = None, most: float | None = None
) -> Row:
    """A measurement with a limit, or none, and no alternative."""
    if least is not None:
        return Row(what, ours, unit, goal=f"≥ {least:g} {unit}".strip(), met=ours >= least)
    if most is not None:
        return Row(what, ours, unit, goal=f"≤ {most:g} {unit}".strip(), met=ours <= most)
    return Row(what, ours, unit)


def missing(what: str, why: str) -> Row:
    """What could not be measured here."""
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
    """Median seconds of each function; runs take turns, so that noise falls on all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a process of its own, which imports only the function's module."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


class Apart:
    """A side of a comparison in a process of its own, where the other sides leave it no threads and memory.

    Used with `with`; calling it calls what `make(*arguments)` has returned there, and waits.
    """

    def __init__(self, make: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
        """Starts the process."""
        self._pool = concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), _make, (make, *arguments)
        )

    def __call__(self) -> Any:
        """What the side returns."""
        return self._pool.submit(_call).result()

    def __enter__(self) -> Apart:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self._pool.shutdown()


def _make(make: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
    global _side
    _side = make(*arguments)


def _call() -> Any:
    return _side()


def memory(field: str = "VmHWM") -> float:
    """GiB of this process (Linux): "VmRSS", or "VmHWM", its peak since `forget_peak`.

    Not `getrusage`: there a process inherits the peak of the one that started it.
    """
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**20


def forget_peak() -> None:
    """Lets the peak of memory begin anew (Linux)."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")

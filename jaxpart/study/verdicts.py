"""How a claim is decided: comparisons of figures, each with the interval of its difference.

Rules:

- A comparison tests the difference of two figures against a bound, which is 0 unless the claim states a
  size. It holds if the 95 % interval of the difference lies on the claimed side of the bound, does not hold
  if the interval lies on the other side, and is undecided otherwise.
- With several pretrainings the difference is taken seed by seed, and the interval is Student's t over the
  seeds that both sides have. With one, it combines the tasks' intervals over test items as if they were
  independent, and does not cover variation between trainings. Without intervals it is undecided.
- A claim of several comparisons holds if all hold, does not hold if any does not, and is undecided
  otherwise. (Since all must hold, their number needs no correction.)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from jaxpart.runs.rows import Key, Row, by_key
from jaxpart.runs.table import Section
from jaxpart.study.entries import Entry
from jaxpart.study.figures import by_row, over_seeds

Verdict = Literal["holds", "does not hold", "undecided"]


@dataclasses.dataclass(frozen=True)
class Side:
    """A side of a comparison: the mean over rows and results.

    Attributes:
      rows: Methods.
      keys: Keys of results.
    """

    rows: tuple[str, ...]
    keys: tuple[Key, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The statement that a difference is above a bound, or below it.

    Attributes:
      text: The comparison in words.
      left: The minuend.
      right: The subtrahend; None: `left` is a difference already.
      bound: The bound, see above.
      below: Whether the claim is that the difference is below the bound.
    """

    text: str
    left: Side
    right: Side | None
    bound: float = 0.0
    below: bool = False


@dataclasses.dataclass(frozen=True)
class Claim:
    """One of the paper's claims.

    Attributes:
      number: Its number in the paper's summary.
      text: The claim in words.
      comparisons: The comparisons that must hold.
    """

    number: int
    text: str
    comparisons: tuple[Comparison, ...]


@dataclasses.dataclass(frozen=True)
class Compared:
    """The outcome of a comparison, in fractions; None if a result is missing.

    Attributes:
      text: See `Comparison`.
      left: The left side's number.
      right: The right side's number.
      difference: Left minus right, over the seeds that both have.
      low: Lower end of its 95 % interval.
      high: Upper end.
      seeds: Number of pretrainings that were compared.
      verdict: The verdict by the rules above.
    """

    text: str
    left: float | None
    right: float | None
    difference: float | None
    low: float | None
    high: float | None
    seeds: int
    verdict: Verdict


@dataclasses.dataclass(frozen=True)
class Judged:
    """The verdict on a claim."""

    number: int
    text: str
    verdict: Verdict
    comparisons: Sequence[Compared]


def judge(entries: Sequence[Entry], claims: Sequence[Claim]) -> list[Judged]:
    """Tests claims on results.

    Args:
      entries: Entries of a study.
      claims: The claims.
    """
    rows = {
        row: {entry.seed: by_key(entry.rows) for entry in members}
        for row, members in by_row(entries).items()
    }
    judged = []
    for claim in claims:
        compared = [_compare(comparison, rows) for comparison in claim.comparisons]
        verdicts = {comparison.verdict for comparison in compared}
        verdict: Verdict = "undecided"
        if verdicts == {"holds"}:
            verdict = "holds"
        elif "does not hold" in verdicts:
            verdict = "does not hold"
        judged.append(Judged(claim.number, claim.text, verdict, compared))
    return judged


_Rows = Mapping[str, Mapping[int | None, Mapping[Key, Row]]]


def _compare(comparison: Comparison, rows: _Rows) -> Compared:
    left, right = comparison.left, comparison.right
    seeds = _seeds(left, rows) & (_seeds(right, rows) if right else _seeds(left, rows))
    if not seeds:
        missing = (None,) * 5
        return Compared(comparison.text, *missing, 0, "undecided")
    order = sorted(seeds, key=lambda seed: -1 if seed is None else seed)
    lefts = [_value(left, rows, seed) for seed in order]
    rights = [_value(right, rows, seed) if right else 0.0 for seed in order]
    differences = [a - b for a, b in zip(lefts, rights, strict=True)]
    low: float | None
    high: float | None
    if len(order) > 1:
        figure = over_seeds(differences)
        low, high = figure.low, figure.high
    else:
        low, high = _over_items(comparison, rows, order[0], differences[0])
    return Compared(
        text=comparison.text,
        left=float(np.mean(lefts)),
        right=float(np.mean(rights)) if right else None,
        difference=float(np.mean(differences)),
        low=low,
        high=high,
        seeds=len(order),
        verdict=_verdict(low, high, comparison.bound, comparison.below),
    )


def _verdict(low: float | None, high: float | None, bound: float, below: bool) -> Verdict:
    if low is None or high is None:
        return "undecided"
    if low > bound:
        return "does not hold" if below else "holds"
    if high < bound:
        return "holds" if below else "does not hold"
    return "undecided"


def _seeds(side: Side, rows: _Rows) -> set[int | None]:
    """The seeds for which all rows of a side have all results."""
    seeds: set[int | None] | None = None
    for row in side.rows:
        complete = {
            seed
            for seed, measured in rows.get(row, {}).items()
            if all(key in measured for key in side.keys)
        }
        seeds = complete if seeds is None else seeds & complete
    return seeds or set()


def _value(side: Side, rows: _Rows, seed: int | None) -> float:
    return float(np.mean([rows[row][seed][key].value for row in side.rows for key in side.keys]))


def _over_items(
    comparison: Comparison, rows: _Rows, seed: int | None, difference: float
) -> tuple[float | None, float | None]:
    """The interval of a difference from the intervals of its numbers; chance is exact."""
    down = up = 0.0
    for side, sign in ((comparison.left, 1), (comparison.right, -1)):
        if side is None or side.keys[0].representation == "chance":
            continue
        count = len(side.rows) * len(side.keys)
        for row in side.rows:
            for key in side.keys:
                result = rows[row][seed][key]
                if result.interval is None:
                    return None, None
                below, above = result.value - result.interval[0], result.interval[1] - result.value
                if sign < 0:
                    below, above = above, below
                down += (below / count) ** 2
                up += (above / count) ** 2
    return difference - math.sqrt(down), difference + math.sqrt(up)


def numbers(compared: Compared) -> str:
    """The compared numbers in percent."""
    if compared.difference is None:
        return "not measured"
    sides = f"{100 * compared.left:.1f}" if compared.left is not None else ""
    if compared.right is not None:
        sides += f" − {100 * compared.right:.1f} = {100 * compared.difference:+.1f}"
    if compared.low is None or compared.high is None:
        return f"{sides}, no interval"
    return f"{sides} [{100 * compared.low:+.1f}, {100 * compared.high:+.1f}]"


def claims_section(judged: Sequence[Judged]) -> Section:
    """A row for each claim, and one for each comparison that does not hold."""
    rows = []
    for claim in judged:
        count = len(claim.comparisons)
        held = sum(comparison.verdict == "holds" for comparison in claim.comparisons)
        rows.append((f"claim {claim.number}", claim.verdict, f"{held} of {count}", claim.text))
        for comparison in claim.comparisons:
            if comparison.verdict != "holds" and comparison.difference is not None:
                rows.append(
                    ("", comparison.verdict, "", f"{comparison.text}: {numbers(comparison)}")
                )
        if missing := sum(comparison.difference is None for comparison in claim.comparisons):
            rows.append(("", "undecided", "", f"{missing} of {count} comparisons not measured"))
    return Section(("the paper's claims", "at this scale", "hold", ""), rows)

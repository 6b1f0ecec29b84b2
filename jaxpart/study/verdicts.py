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
from jaxpart.tasks.baselines import BASELINE

Verdict = Literal["holds", "does not hold", "undecided"]


@dataclasses.dataclass(frozen=True)
class Side:
    """A figure: the mean over rows and results.

    Attributes:
      rows: Methods.
      keys: Of results.
    """

    rows: tuple[str, ...]
    keys: tuple[Key, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """That a difference lies above a bound, or below it.

    Attributes:
      text: What is compared.
      left: From which…
      right: …this is taken; None: `left` is a difference already.
      bound: See above.
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
      number: As in the paper's summary.
      text: What is claimed.
      comparisons: All of which it makes.
    """

    number: int
    text: str
    comparisons: tuple[Comparison, ...]


@dataclasses.dataclass(frozen=True)
class Compared:
    """What became of a comparison; shares of 1, None where a result is missing.

    Attributes:
      text: See `Comparison`.
      left: The first figure.
      right: The second.
      difference: First less second, over the seeds that both have.
      low: Lower end of its 95 % interval.
      high: Upper end.
      bound: See `Comparison`.
      below: See `Comparison`.
      seeds: How many pretrainings were compared.
      verdict: By the rule above.
    """

    text: str
    left: float | None
    right: float | None
    difference: float | None
    low: float | None
    high: float | None
    bound: float
    below: bool
    seeds: int
    verdict: Verdict


@dataclasses.dataclass(frozen=True)
class Judged:
    """What became of a claim."""

    number: int
    text: str
    verdict: Verdict
    comparisons: Sequence[Compared]


def judge(entries: Sequence[Entry], claims: Sequence[Claim]) -> list[Judged]:
    """Tests claims on results.

    Args:
      entries: Of a study.
      claims: Which.
    """
    rows = {
        row: {entry.seed: by_key(entry.rows) for entry in mine}
        for row, mine in by_row(entries).items()
    }
    judged = []
    for claim in claims:
        compared = [_compare(comparison, rows) for comparison in claim.comparisons]
        verdicts = {one.verdict for one in compared}
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
        nothing = (None,) * 5
        return Compared(
            comparison.text, *nothing, comparison.bound, comparison.below, 0, "undecided"
        )
    order = sorted(seeds, key=lambda seed: -1 if seed is None else seed)
    lefts = [_value(left, rows, seed) for seed in order]
    rights = [_value(right, rows, seed) if right else 0.0 for seed in order]
    differences = [a - b for a, b in zip(lefts, rights, strict=True)]
    low: float | None
    high: float | None
    if len(order) > 1:
        found = over_seeds(differences)
        low, high = found.low, found.high
    else:
        low, high = _over_items(comparison, rows, order[0], differences[0])
    return Compared(
        text=comparison.text,
        left=float(np.mean(lefts)),
        right=float(np.mean(rights)) if right else None,
        difference=float(np.mean(differences)),
        low=low,
        high=high,
        bound=comparison.bound,
        below=comparison.below,
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
    """Seeds of which all rows of a side have all results."""
    found: set[int | None] | None = None
    for row in side.rows:
        mine = {
            seed
            for seed, measured in rows.get(row, {}).items()
            if all(key in measured for key in side.keys)
        }
        found = mine if found is None else found & mine
    return found or set()


def _value(side: Side, rows: _Rows, seed: int | None) -> float:
    return float(np.mean([rows[row][seed][key].value for row in side.rows for key in side.keys]))


def _over_items(
    comparison: Comparison, rows: _Rows, seed: int | None, difference: float
) -> tuple[float | None, float | None]:
    """The interval of a difference from those of its figures; chance is known exactly."""
    down = up = 0.0
    for side, sign in ((comparison.left, 1), (comparison.right, -1)):
        if side is None or side.keys[0].head == BASELINE:
            continue
        count = len(side.rows) * len(side.keys)
        for row in side.rows:
            for key in side.keys:
                found = rows[row][seed][key]
                if found.interval is None:
                    return None, None
                below, above = found.value - found.interval[0], found.interval[1] - found.value
                if sign < 0:
                    below, above = above, below
                down += (below / count) ** 2
                up += (above / count) ** 2
    return difference - math.sqrt(down), difference + math.sqrt(up)


def numbers(one: Compared) -> str:
    """The numbers that were compared, in percent."""
    if one.difference is None:
        return "not measured"
    sides = f"{100 * one.left:.1f}" if one.left is not None else ""
    if one.right is not None:
        sides += f" − {100 * one.right:.1f} = {100 * one.difference:+.1f}"
    if one.low is None or one.high is None:
        return f"{sides}, no interval"
    return f"{sides} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"


def claims_section(judged: Sequence[Judged]) -> Section:
    """A row for each claim, and one for each comparison that turned out otherwise."""
    rows = []
    for claim in judged:
        count = len(claim.comparisons)
        held = sum(one.verdict == "holds" for one in claim.comparisons)
        rows.append((f"claim {claim.number}", claim.verdict, f"{held} of {count}", claim.text))
        for one in claim.comparisons:
            if one.verdict != "holds" and one.difference is not None:
                rows.append(("", one.verdict, "", f"{one.text}: {numbers(one)}"))
        if missing := sum(one.difference is None for one in claim.comparisons):
            rows.append(("", "undecided", "", f"{missing} of {count} comparisons not measured"))
    return Section(("the paper's claims", "at this scale", "hold", ""), rows)

"""The paper's four claims, each as comparisons of figures, with the rule that decides it.

The rules were written before any result of a trained encoder was seen:

- A comparison is a difference of two figures against a bound, 0 unless the claim says how large the
  difference is. It holds if the 95 % interval of the difference lies on the claimed side of the bound, it
  does not hold if the interval lies on the other side, and else it is undecided.
- With several pretrainings the difference is taken seed by seed, and the interval is Student's t over the
  seeds that both sides have. With one, it is put together of the intervals over test items that the tasks
  give, as if they were independent; it knows nothing of another training. Without these: undecided.
- A claim of several comparisons holds if all hold, does not hold if any does not, and else is undecided.
  (All having to hold, their number needs no correction.)
- A level is a mean of the table's columns: "object level" of object classification (linear, attentive) and
  object segmentation; "part level" of part retrieval (encoded), part classification (linear, attentive)
  and part segmentation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from jaxpart.paper import METHODS
from jaxpart.study.entries import Entry
from jaxpart.study.figures import by_row, over_seeds
from jaxpart.table import Section

Verdict = Literal["holds", "does not hold", "undecided"]

_LINEAR = (
    "critters/object_classification/linear/cls_token/best",
    "critters/classification/linear/cls_token/best",
)
_ATTENTIVE = (
    "critters/object_classification/attentive/tokens/best",
    "critters/classification/attentive/tokens/best",
)
_ENCODED = "critters/retrieval/embedding/AP"
_PROJECTED = "critters/retrieval/projection/AP"
_OBJECT = (_LINEAR[0], _ATTENTIVE[0], "critters_object/segmentation/paper/mIoU")
_PART = (_ENCODED, _LINEAR[1], _ATTENTIVE[1], "critters_part/segmentation/paper/mIoU")

_FAR = 0.05
"""What "far better" is at least: points of AP, as a share of 1."""

_TRAILS = 0.02
"""What "does not trail" may still be behind, as a share of 1."""

_SPACES = (("mae", "pixels"), ("beit", "tokens"), ("cae", "tokens"), ("cae", "representation"))


@dataclasses.dataclass(frozen=True)
class Side:
    """A figure: the mean over rows and results.

    Attributes:
      rows: Methods.
      keys: Names of results.
    """

    rows: tuple[str, ...]
    keys: tuple[str, ...]


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


def _named(row: str) -> str:
    return METHODS.get(row, row)


def _first() -> Claim:
    rivals = ("mocov3", "dino", "beit", "mae", "cae")
    return Claim(
        1,
        "DeiT leads in object-level recognition (except against iBOT); self-supervised encoders lead in "
        "part-level recognition.",
        (
            *(
                Comparison(
                    f"object level: DeiT above {_named(row)}",
                    Side(("deit",), _OBJECT),
                    Side((row,), _OBJECT),
                )
                for row in rivals
            ),
            *(
                Comparison(
                    f"part level: {_named(row)} above DeiT",
                    Side((row,), _PART),
                    Side(("deit",), _PART),
                )
                for row in (*rivals, "ibot")
            ),
        ),
    )


def _second() -> Claim:
    return Claim(
        2,
        "Part-to-whole: for contrastive methods, encoded representations retrieve parts far better than "
        "projected ones.",
        tuple(
            Comparison(
                f"part retrieval: {_named(row)} encoded above projected by {100 * _FAR:.0f} points",
                Side((row,), (_ENCODED,)),
                Side((row,), (_PROJECTED,)),
                bound=_FAR,
            )
            for row in ("mocov3", "dino", "ibot")
        ),
    )


def _third() -> Claim:
    place = "critters/hidden_parts"
    return Claim(
        3,
        "Part-to-part: masked image modelling predicts the masked part of an object from the visible part "
        "(CAE does so in representation space).",
        (
            *(
                Comparison(
                    f"hidden parts: {_named(row)}'s {space} above chance",
                    Side((row,), (f"{place}/{space}/part/AP",)),
                    Side((row,), (f"{place}/chance/AP",)),
                )
                for row, space in _SPACES
            ),
            *(
                Comparison(
                    f"hidden parts: {_named(row)}'s {space} from the object itself above those from "
                    f"another image",
                    Side((row,), (f"{place}/{space}/part_less_other_image/AP",)),
                    None,
                )
                for row, space in _SPACES
            ),
        ),
    )


def _fourth() -> Claim:
    others = tuple(row for row in METHODS if row != "ibot")
    rest = ("mocov3", "dino", "cae", "ibot")
    return Claim(
        4,
        "Combining both (iBOT) is best at both levels; MAE and BEiT trail in linear probing but not in "
        "attentive probing.",
        (
            *(
                Comparison(
                    f"{level} level: iBOT above {_named(row)}",
                    Side(("ibot",), keys),
                    Side((row,), keys),
                )
                for level, keys in (("object", _OBJECT), ("part", _PART))
                for row in others
            ),
            *(
                Comparison(
                    f"linear probing: mean of {', '.join(map(_named, rest))} above {_named(row)}",
                    Side(rest, _LINEAR),
                    Side((row,), _LINEAR),
                )
                for row in ("mae", "beit")
            ),
            *(
                Comparison(
                    f"attentive probing: mean of {', '.join(map(_named, rest))} above {_named(row)} by "
                    f"less than {100 * _TRAILS:.0f} points",
                    Side(rest, _ATTENTIVE),
                    Side((row,), _ATTENTIVE),
                    bound=_TRAILS,
                    below=True,
                )
                for row in ("mae", "beit")
            ),
        ),
    )


CLAIMS = (_first(), _second(), _third(), _fourth())
"""In the paper's order; probing is of objects and parts together."""


def judge(entries: Sequence[Entry], claims: Sequence[Claim] = CLAIMS) -> list[Judged]:
    """Tests claims on results.

    Args:
      entries: Of a study.
      claims: Which.
    """
    rows = {
        row: {entry.seed: entry.values for entry in mine} for row, mine in by_row(entries).items()
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


_Rows = Mapping[str, Mapping[int | None, Mapping[str, float]]]


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
            for seed, values in rows.get(row, {}).items()
            if all(key in values for key in side.keys)
        }
        found = mine if found is None else found & mine
    return found or set()


def _value(side: Side, rows: _Rows, seed: int | None) -> float:
    return float(np.mean([rows[row][seed][key] for row in side.rows for key in side.keys]))


def _over_items(
    comparison: Comparison, rows: _Rows, seed: int | None, difference: float
) -> tuple[float | None, float | None]:
    """The interval of a difference from those of its figures; chance is known exactly."""
    down = up = 0.0
    for side, sign in ((comparison.left, 1), (comparison.right, -1)):
        if side is None or side.keys[0].endswith("chance/AP"):
            continue
        count = len(side.rows) * len(side.keys)
        for row in side.rows:
            for key in side.keys:
                values = rows[row][seed]
                ends = [values.get(f"{key}_{end}") for end in ("low", "high")]
                if ends[0] is None or ends[1] is None:
                    return None, None
                below, above = values[key] - ends[0], ends[1] - values[key]
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
    """A row for each claim, and one for each comparison that did not turn out as claimed."""
    rows = []
    for claim in judged:
        count = len(claim.comparisons)
        held = sum(one.verdict == "holds" for one in claim.comparisons)
        rows.append((f"claim {claim.number}", claim.verdict, f"{held} of {count}", claim.text))
        for one in claim.comparisons:
            if one.verdict != "holds":
                rows.append(("", one.verdict, "", f"{one.text}: {numbers(one)}"))
    return Section(("the paper's claims", "at this scale", "hold", ""), rows)

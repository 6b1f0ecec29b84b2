"""Compares two results.json, or one with the paper's numbers."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpart.errors import JaxpartError
from jaxpart.io.files import path_of, read_json
from jaxpart.report.layouts import paper_values
from jaxpart.runs.comparable import data_differs, encoder_differs, remark
from jaxpart.runs.config_diff import differences
from jaxpart.runs.paper import METHODS
from jaxpart.runs.rows import Key, Row, by_key, read_rows
from jaxpart.runs.table import Section, encoder_name, percent, sections_text
from jaxpart.runs.unlike import Facts, read_facts, unlike

PAPER = "paper"
_ADVICE = "give results.json or the folder of a finished run"
_ROUNDING = 0.0005
"""Half of the last digit that the paper prints, as a fraction."""


def agrees(a: Row, b: Row, tolerance: float) -> str:
    """Why two results agree: "equal", "tolerance" or "interval"; "" if they do not.

    Args:
      a: A result; counts must be equal.
      b: The same result of the other run.
      tolerance: In percentage points.
    """
    if a.value == b.value or (math.isnan(a.value) and math.isnan(b.value)):
        return "equal"
    if isinstance(a.value, int) and isinstance(b.value, int):
        return ""
    if abs(a.value - b.value) <= tolerance / 100 + 1e-12:
        return "tolerance"
    low_a, high_a = a.interval or (a.value, a.value)
    low_b, high_b = b.interval or (b.value, b.value)
    overlap = low_a <= high_b and low_b <= high_a
    return "interval" if overlap and (a.interval or b.interval) else ""


@dataclasses.dataclass(frozen=True)
class ResultReport:
    """The comparison of two results.

    Attributes:
      files: The compared files.
      tolerance: In percentage points.
      rows: Every result that both have, in the first and in the second.
      alone: Results in the first or the second only; not for the paper.
      notes: Remarks, for example on results that are not comparable with the paper's.
    """

    files: tuple[str, str]
    tolerance: float
    rows: Sequence[tuple[Row, Row]]
    alone: tuple[Sequence[Key], Sequence[Key]]
    notes: Sequence[str] = ()

    @property
    def same(self) -> bool:
        """Whether all results that both have agree."""
        return all(agrees(*pair, self.tolerance) for pair in self.rows)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "files": list(self.files),
            "tolerance": self.tolerance,
            "same": self.same,
            "results": {
                a.key.name: {
                    "a": a.value,
                    "b": b.value,
                    "interval_a": a.interval,
                    "interval_b": b.interval,
                    "agrees": agrees(a, b, self.tolerance) or None,
                }
                for a, b in self.rows
            },
            "only_in": {
                file: [key.name for key in keys]
                for file, keys in zip(self.files, self.alone, strict=True)
            },
            "notes": list(self.notes),
        }

    def as_text(self) -> str:
        """A row for each result, in percent."""
        rows = []
        for a, b in self.rows:
            reason, difference = agrees(a, b, self.tolerance), a.value - b.value
            points = (
                f"{difference:+d}" if isinstance(difference, int) else f"{100 * difference:+.2f}"
            )
            note = {"": "DIFFERS", "interval": "within the interval"}.get(reason, "")
            rows.append((a.key.name, _value_text(a), _value_text(b), points, note))
        table = sections_text(None, [Section(("result", "A", "B", "A - B", ""), rows)])
        lines = [table, *(f"{x} = {file}" for x, file in zip("AB", self.files, strict=True))]
        for file, keys in zip(self.files, self.alone, strict=True):
            if keys:
                shown = ", ".join(key.name for key in keys[:5]) + (" …" if len(keys) > 5 else "")
                lines.append(f"only in {file}: {len(keys)} ({shown})")
        lines += self.notes
        differing = sum(not agrees(*pair, self.tolerance) for pair in self.rows)
        verdict = f"{len(self.rows)} results agree" if self.same else f"{differing} results DIFFER"
        return "\n".join([*lines, verdict])


def _value_text(row: Row) -> str:
    if isinstance(row.value, int):
        return str(row.value)
    bounds = f" [{percent(row.interval[0])}, {percent(row.interval[1])}]" if row.interval else ""
    return f"{100 * row.value:.2f}{bounds}"


def verify_results(
    a: str | pathlib.Path, b: str | pathlib.Path, *, tolerance: float = 0.1
) -> ResultReport:
    """Compares the results that two runs have in common.

    Two results agree if they are within the tolerance, or if their 95 % intervals overlap (the paper's
    numbers have the interval of their rounding). Counts must be equal.

    Args:
      a: results.json, or the folder of a run.
      b: The same, or "paper" for the paper's numbers of the same method.
      tolerance: In percentage points.

    Raises:
      JaxpartError: A file cannot be read, the two have no result in common, or B is the paper and the
        encoder is not one of its methods with the released weights.
    """
    first = read_json(_file(a), _ADVICE)
    ours = by_key(read_rows(first, a))
    notes: list[str] = []
    alone: tuple[list[Key], list[Key]] = ([], [])
    if str(b) == PAPER:
        figures, notes = _paper_figures(first, ours, a)
        notes += _not_as_published(_facts(a, "A"), figures)
        theirs = {
            key: Row(*key[:3], value, *key[3:], low=value - _ROUNDING, high=value + _ROUNDING)
            for key, value in figures.items()
        }
    else:
        second = read_json(_file(b), _ADVICE)
        theirs = by_key(read_rows(second, b))
        alone = ([k for k in ours if k not in theirs], [k for k in theirs if k not in ours])
    pairs = [(row, theirs[key]) for key, row in ours.items() if key in theirs]
    if not pairs:
        remarks = "".join(f"; {note}" for note in notes)
        raise JaxpartError(f"{a} and {b} have no result in common{remarks}")
    if str(b) != PAPER:
        notes = _encoders(first, second)
        facts = [_facts(path, label) for path, label in ((a, "A"), (b, "B"))]
        for task in dict.fromkeys(row.task for row, _ in pairs):
            data = list(dict.fromkeys(row.data for row, _ in pairs if row.task == task))
            notes += [f"{task}: {sentence}" for sentence in unlike(facts, task, data)]
    return ResultReport((str(a), str(b)), tolerance, pairs, alone, notes)


def _facts(path: str | pathlib.Path, label: str) -> Facts:
    """The facts in the folder of results.json."""
    return read_facts(_file(path).parent, label)


def _not_as_published(facts: Facts, figures: Mapping[Key, float]) -> list[str]:
    """How a run differs from the paper's, task by task."""
    if not facts.config:
        return [
            "no config.json next to it, so it is unknown whether it was run with the paper's settings"
        ]
    tasks = dict.fromkeys(key.task for key in figures)
    by_task = {task: differences(facts.config, task) for task in tasks}
    return [
        f"{task} was not run with the paper's settings: {', '.join(differing)}"
        for task, differing in by_task.items()
        if differing
    ]


def _encoders(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """A note with both encoders' names and digests, if their weights or precision differ."""
    try:
        a, b = (
            f"{encoder_name(document['encoder'])} {document['encoder']['digest'][:12]}"
            for document in (first, second)
        )
    except (KeyError, TypeError):
        return ["A and B do not both record their encoder"]
    return [] if a == b else [f"A is from {a}, B from {b}"]


def _file(path: str | pathlib.Path) -> pathlib.Path:
    path = path_of(path)
    return path / "results.json" if path.is_dir() else path


def _paper_figures(
    document: Mapping[str, Any], ours: Mapping[Key, Row], path: str | pathlib.Path
) -> tuple[dict[Key, float], list[str]]:
    """The paper's numbers that are comparable with the results, and notes on all of them."""
    encoder = document.get("encoder", {})
    method = encoder.get("name")
    if method not in METHODS:
        raise JaxpartError(
            f"{path} is of the encoder {method!r}, which is not in the paper; its methods are "
            f"{', '.join(METHODS)}"
        )
    if not encoder.get("trained"):
        raise JaxpartError(
            f"{path} is of an UNTRAINED encoder, whose results say nothing about "
            f"{METHODS[method]}; run with the released checkpoint"
        )
    differing = encoder_differs(encoder)
    if differing:
        raise JaxpartError(
            f"the paper's figures are not comparable with {path}, whose encoder is not the paper's "
            f"{METHODS[method]}: {'; '.join(differing)}. If it was converted from the released "
            "file, pass --config.encoder.released=True when you run it"
        )
    rows = list(ours.values())
    values = {key: percent / 100 for key, percent in paper_values(method, rows).items()}
    incomparable = {key: difference for key in values if (difference := data_differs(rows, key))}
    notes = [
        f"not comparable with the paper's: {key.name} ({difference})"
        for key, difference in incomparable.items()
    ]
    comparable = {key: value for key, value in values.items() if key not in incomparable}
    remarks = dict.fromkeys(remark(method, key.task) for key in comparable)
    return comparable, notes + [f"{METHODS[method]}: {note}" for note in remarks if note]

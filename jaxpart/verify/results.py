"""Two results.json, or one and the paper's figures."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpart.errors import JaxpartError
from jaxpart.io.files import from_json, parse_json
from jaxpart.runs.comparable import data_differs, encoder_differs, remark
from jaxpart.runs.paper import METHODS
from jaxpart.runs.table import Section, sections_text
from jaxpart.verify.paper import paper_values

PAPER = "paper"
_ROUNDING = 0.0005
"""Half of the last digit that the paper prints, as a share of 1."""
_ENDS = ("_low", "_high")


@dataclasses.dataclass(frozen=True)
class Row:
    """One result in both.

    Attributes:
      name: As results.json has it.
      a: Its value there: a share of 1 or a count.
      b: The other.
      interval_a: Its 95 % interval, or None.
      interval_b: The other's.
    """

    name: str
    a: float
    b: float
    interval_a: tuple[float, float] | None
    interval_b: tuple[float, float] | None

    def agrees(self, tolerance: float) -> str:
        """Why they agree: "equal", "tolerance" or "interval"; "" if they do not.

        Args:
          tolerance: In percent points; counts must be equal.
        """
        if self.a == self.b or (math.isnan(self.a) and math.isnan(self.b)):
            return "equal"
        if isinstance(self.a, int) and isinstance(self.b, int):
            return ""
        if abs(self.a - self.b) <= tolerance / 100 + 1e-12:
            return "tolerance"
        low_a, high_a = self.interval_a or (self.a, self.a)
        low_b, high_b = self.interval_b or (self.b, self.b)
        overlap = low_a <= high_b and low_b <= high_a
        return "interval" if overlap and (self.interval_a or self.interval_b) else ""


@dataclasses.dataclass(frozen=True)
class ResultReport:
    """What was found of two results.

    Attributes:
      files: What was compared.
      tolerance: In percent points.
      rows: Every result that both have.
      alone: Names that only the first or only the second has; with the paper left out.
      notes: What else is to be said, as of results beside which the paper's figures do not belong.
    """

    files: tuple[str, str]
    tolerance: float
    rows: Sequence[Row]
    alone: tuple[Sequence[str], Sequence[str]]
    notes: Sequence[str] = ()

    @property
    def same(self) -> bool:
        """Whether all that both have agrees."""
        return all(row.agrees(self.tolerance) for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "files": list(self.files),
            "tolerance": self.tolerance,
            "same": self.same,
            "results": {
                row.name: {
                    "a": row.a,
                    "b": row.b,
                    "interval_a": row.interval_a,
                    "interval_b": row.interval_b,
                    "agrees": row.agrees(self.tolerance) or None,
                }
                for row in self.rows
            },
            "only_in": dict(zip(self.files, map(list, self.alone), strict=True)),
            "notes": list(self.notes),
        }

    def as_text(self) -> str:
        """A row for each result, in percent."""
        rows = []
        for row in self.rows:
            how = row.agrees(self.tolerance)
            difference = row.a - row.b
            cells = (_shown(row.a, row.interval_a), _shown(row.b, row.interval_b))
            points = (
                f"{difference:+d}" if isinstance(difference, int) else f"{100 * difference:+.2f}"
            )
            note = {"": "DIFFERS", "interval": "within the interval"}.get(how, "")
            rows.append((row.name, *cells, points, note))
        table = sections_text(None, [Section(("result", "A", "B", "A - B", ""), rows)])
        lines = [table, *(f"{x} = {file}" for x, file in zip("AB", self.files, strict=True))]
        for file, names in zip(self.files, self.alone, strict=True):
            if names:
                shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
                lines.append(f"only in {file}: {len(names)} ({shown})")
        lines += self.notes
        differing = sum(not row.agrees(self.tolerance) for row in self.rows)
        verdict = f"{len(self.rows)} results agree" if self.same else f"{differing} results DIFFER"
        return "\n".join([*lines, verdict])


def _shown(value: float, interval: tuple[float, float] | None) -> str:
    if isinstance(value, int):
        return str(value)
    bounds = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return f"{100 * value:.2f}{bounds}"


def verify_results(
    a: str | pathlib.Path, b: str | pathlib.Path, *, tolerance: float = 0.1
) -> ResultReport:
    """Compares results by name.

    Two agree if they are within the tolerance, or if their 95 % intervals (where they have some; the
    paper's figures are rounded) overlap. Counts must be equal.

    Args:
      a: results.json, or the folder of a run.
      b: The same, or "paper" for the paper's figures of the same method.
      tolerance: In percent points.

    Raises:
      JaxpartError: A file cannot be read, both have nothing in common, or the paper is asked about an
        encoder that is not of its methods with the released weights.
    """
    first = _read(a)
    values_a = _values(first, a)
    notes: list[str] = []
    if str(b) == PAPER:
        values_b, notes = _of_paper(first, values_a, a)
        ends_b = {name: (v - _ROUNDING, v + _ROUNDING) for name, v in values_b.items()}
        alone: tuple[list[str], list[str]] = ([], [])
    else:
        values_b = _values(_read(b), b)
        ends_b = _intervals(values_b)
        alone = (_only(values_a, values_b), _only(values_b, values_a))
    ends_a = _intervals(values_a)
    rows = [
        Row(name, value, values_b[name], ends_a.get(name), ends_b.get(name))
        for name, value in values_a.items()
        if name in values_b and not _is_end(name, values_a)
    ]
    if not rows:
        said = "".join(f"; {note}" for note in notes)
        raise JaxpartError(f"{a} and {b} have no result in common{said}")
    return ResultReport((str(a), str(b)), tolerance, rows, alone, notes)


def _read(path: str | pathlib.Path) -> Mapping[str, Any]:
    path = pathlib.Path(path)
    file = path / "results.json" if path.is_dir() else path
    try:
        document = parse_json(file.read_bytes())
    except OSError as error:
        raise JaxpartError(
            f"{file} cannot be read ({error.strerror}); give results.json or the folder of a finished run"
        ) from error
    except ValueError as error:
        raise JaxpartError(f"{file} is damaged ({error}); run again") from error
    if not isinstance(document.get("values"), dict):
        raise JaxpartError(f"{file} is not what a run writes as results.json: it has no values")
    return document


def _values(document: Mapping[str, Any], path: str | pathlib.Path) -> dict[str, float]:
    values = document["values"]
    for name, value in values.items():
        if not isinstance(value, int | float | None):
            raise JaxpartError(f"{path}: the result {name} is {value!r}, not a number")
    return {name: from_json(value) for name, value in values.items()}


def _of_paper(
    document: Mapping[str, Any], values: Mapping[str, float], path: str | pathlib.Path
) -> tuple[dict[str, float], list[str]]:
    """The paper's figures that belong beside results, and what is to be said of them and of the others."""
    encoder = document.get("encoder", {})
    method = encoder.get("name")
    if method not in METHODS:
        raise JaxpartError(
            f"{path} is of the encoder {method!r}, which the paper does not have; its methods are "
            f"{', '.join(METHODS)}"
        )
    if not encoder.get("trained"):
        raise JaxpartError(
            f"{path} is of an UNTRAINED encoder, whose results say nothing of {METHODS[method]}; run "
            f"with the released checkpoint"
        )
    differing = encoder_differs(encoder)
    if differing:
        raise JaxpartError(
            f"the paper's figures do not belong beside {path}, whose encoder is not the paper's "
            f"{METHODS[method]}: {'; '.join(differing)}. If it was converted from the released file, say "
            f"so when it runs, by --config.encoder.released=True"
        )
    found = paper_values(method, list(values))
    apart = {name: said for name in found if (said := data_differs(values, name))}
    notes = [f"not beside the paper's: {name} ({said})" for name, said in apart.items()]
    remarks = {remark(method, name.split("/")[1]): None for name in found if name not in apart}
    notes += [f"{METHODS[method]}: {said}" for said in remarks if said]
    return {name: value for name, value in found.items() if name not in apart}, notes


def _is_end(name: str, values: Mapping[str, float]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in values for end in _ENDS)


def _intervals(values: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    return {
        name: (values[f"{name}_low"], values[f"{name}_high"])
        for name in values
        if f"{name}_low" in values and f"{name}_high" in values
    }


def _only(values: Mapping[str, float], others: Mapping[str, float]) -> list[str]:
    return [name for name in values if name not in others and not _is_end(name, values)]

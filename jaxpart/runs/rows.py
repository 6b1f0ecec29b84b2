"""Results as rows: every value with its data set, task, metric and so on, in plain fields.

results.json has a list of them under "rows", which opens as a data frame in one line:

    pandas.DataFrame(json.load(open("RUN/results.json"))["rows"])
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jaxpart.errors import JaxpartError
from jaxpart.io.files import from_json
from jaxpart.io.text import typed_value

VERSION = 2
"""Version of results.json."""


class Key(NamedTuple):
    """Identifies a result; see `Row`."""

    data: str
    task: str
    metric: str
    head: str = ""
    representation: str = ""
    group: str = ""

    @property
    def series(self) -> str:
        """Head and representation, for tables and legends: "linear/cls_token"."""
        return "/".join(filter(None, (self.head, self.representation)))

    @property
    def label(self) -> str:
        """Identifies the result within its task: "linear/cls_token/best"."""
        return "/".join(filter(None, (self.series, self.metric, self.group)))

    @property
    def name(self) -> str:
        """The whole key: "cub_parts/classification/linear/cls_token/best"."""
        return "/".join((self.data, self.task, self.label))


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One result.

    Attributes:
      data: Canonical name of the data set ("critters", "cub_parts"), or of the segmentation setting.
      task: "retrieval", "classification", …
      metric: "AP", "mIoU", "best", "patches", …
      value: A score from 0 to 1, or an integer count.
      head: "linear", "knn", "own" (the encoder's classifier), "paper@5%", "incontext", "kmeans@8"; for
        masked parts the query. "baseline" and "untrained": without a trained encoder.
      representation: "embedding", "block5/embedding"; for masked parts the space, "pixels"; for baselines
        their name, "chance".
      group: A subset: a part, a class, "seed 1", "rate 0.1"; for the task layers "parts" or "objects".
        Empty: everything.
      low: Lower end of the 95 % interval.
      high: Upper end of the 95 % interval.
      sd: Standard deviation over the run's seeds, if there are several.
    """

    data: str
    task: str
    metric: str
    value: float
    head: str = ""
    representation: str = ""
    group: str = ""
    low: float | None = None
    high: float | None = None
    sd: float | None = None

    @property
    def key(self) -> Key:
        """The key, without values."""
        return Key(self.data, self.task, self.metric, self.head, self.representation, self.group)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends of the 95 % interval; None if there is none."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def fields(self) -> dict[str, Any]:
        """The fields for JSON, without defaults."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }


def select(rows: Iterable[Row], **fields: str) -> list[Row]:
    """The rows whose fields have these values, in order."""
    return [row for row in rows if all(getattr(row, k) == value for k, value in fields.items())]


def find_row(rows: Iterable[Row], *key: str, **fields: str) -> Row | None:
    """The row with a key, or None; fields of `Key` default to "".

    >>> find_row(rows, "critters", "retrieval", "AP", representation="embedding")
    """
    target = Key(*key, **fields)
    return next((row for row in rows if row.key == target), None)


def by_key(rows: Iterable[Row]) -> dict[Key, Row]:
    """Rows by their keys."""
    return {row.key: row for row in rows}


def read_rows(document: Mapping[str, Any], where: object) -> list[Row]:
    """The rows of a document such as results.json.

    Args:
      document: The parsed JSON with "version" and "rows".
      where: The file, for the message.

    Raises:
      JaxpartError: It has another version, or no rows.
    """
    check_version(document, where)
    return parse_rows(document.get("rows"), where)


def check_version(document: Mapping[str, Any], where: object) -> None:
    """Raises `JaxpartError` unless a document holds results in this version of the format."""
    if document.get("version") != VERSION:
        raise JaxpartError(
            f"{where} holds no results of format version {VERSION}, so this version of jaxpart cannot "
            "read it; run again"
        )


def parse_rows(entries: Any, where: object) -> list[Row]:
    """Parses the "rows" of a document; see `read_rows`."""
    if not isinstance(entries, list):
        raise JaxpartError(f"{where} is not a run's results.json: it has no rows")
    rows = []
    for i, fields in enumerate(entries):
        try:
            rows.append(parse_row(fields))
        except ValueError as error:
            raise JaxpartError(f"{where}, row {i}: {error}; run again") from error
    return rows


def check_number(name: str, value: Any) -> None:
    """Raises `ValueError` unless a value from JSON is a number that fits a float, or null."""
    if not isinstance(value, int | float | None) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, not a number")
    if value is not None and abs(value) > sys.float_info.max:
        raise ValueError(f"{name} is too large a number")


def parse_row(fields: Any) -> Row:
    """Parses a row from its `fields`: null is NaN, and missing fields have their defaults.

    Raises:
      ValueError: The fields are invalid.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"{fields!r} is not a row")
    if missing := [name for name in ("data", "task", "metric", "value") if name not in fields]:
        raise ValueError(f"the field {missing[0]!r} is missing")
    numbers = {name: fields[name] for name in ("value", "low", "high", "sd") if name in fields}
    for name, value in numbers.items():
        check_number(name, value)
    parsed = {name: from_json(value) for name, value in numbers.items()}
    return typed_value(Row, fields | parsed, "it")

"""Results as rows: every value with what it is of, in plain fields.

results.json holds a list of them under "rows"; a data frame of it is one line:

    pandas.DataFrame(json.load(open("RUN/results.json"))["rows"])
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jaxpart.errors import JaxpartError
from jaxpart.io.files import from_json

VERSION = 2
"""Of results.json. The first one had names in place of rows."""


class Key(NamedTuple):
    """What a value is of; see `Row`."""

    data: str
    task: str
    metric: str
    head: str = ""
    representation: str = ""
    group: str = ""

    @property
    def series(self) -> str:
        """Head and representation for a table or a legend, "linear/cls_token"."""
        return "/".join(filter(None, (self.head, self.representation)))

    @property
    def label(self) -> str:
        """What tells it from other results of the task, "linear/cls_token/best"."""
        return "/".join(filter(None, (self.series, self.metric, self.group)))

    @property
    def name(self) -> str:
        """All of it for a reader, "cub_parts/classification/linear/cls_token/best"."""
        return "/".join((self.data, self.task, self.label))


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One result.

    Attributes:
      data: Canonical name of the data set: "critters", "cub_parts"; of segmentation, of its setting.
      task: "retrieval", "classification", …
      metric: "AP", "mIoU", "best", "patches", …
      value: A share of 1, or a count, which is an integer.
      head: What reads or asks: "linear", "knn", "own" (the encoder's classifier), "paper@5%",
        "incontext", "kmeans@8"; of masked parts the query. "baseline" and "untrained": without a trained
        encoder.
      representation: "embedding", "block5/embedding"; of masked parts the space, "pixels"; of the head
        "baseline" which one, "chance".
      group: What it is restricted to: a part, a class, "seed 1", "rate 0.1"; of the task layers what is
        looked for, "parts" or "objects". Empty: everything.
      low: Lower end of its 95 % interval.
      high: Upper end.
      sd: Standard deviation over the run's seeds, where there are several.
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
        """What the value is of."""
        return Key(self.data, self.task, self.metric, self.head, self.representation, self.group)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends of its 95 % interval; None where there is none."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def fields(self) -> dict[str, Any]:
        """Its fields for JSON, without those that have their default."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }


def select(rows: Iterable[Row], **fields: str) -> list[Row]:
    """The rows whose fields have these values, in their order; a field that is not named may be any."""
    return [row for row in rows if all(getattr(row, name) == is_ for name, is_ in fields.items())]


def one(rows: Iterable[Row], *key: str, **fields: str) -> Row | None:
    """The row of a key, or None; fields of `Key` that are not given are empty.

    >>> one(rows, "critters", "retrieval", "AP", representation="embedding")
    """
    wanted = Key(*key, **fields)
    return next((row for row in rows if row.key == wanted), None)


def by_key(rows: Iterable[Row]) -> dict[Key, Row]:
    """Rows by what they are of."""
    return {row.key: row for row in rows}


def read_rows(document: Mapping[str, Any], where: object) -> list[Row]:
    """The rows of a document, as results.json is one.

    Args:
      document: As JSON has it: "version" and "rows".
      where: The file, for the message.

    Raises:
      JaxpartError: It is of another version, or does not hold rows.
    """
    check_version(document, where)
    return parse_rows(document.get("rows"), where)


def check_version(document: Mapping[str, Any], where: object) -> None:
    """Refuses results that another version of jaxpart wrote, with a `JaxpartError`."""
    version = document.get("version")
    if version is None and ("values" in document or "entries" in document):
        raise JaxpartError(
            f"{where} was written by an older jaxpart with another format of results; run again"
        )
    if version is not None and version != VERSION:
        raise JaxpartError(
            f"{where} is of version {version!r} and this jaxpart reads version {VERSION}; read it with "
            f"the jaxpart that wrote it, or run again"
        )


def parse_rows(found: Any, where: object) -> list[Row]:
    """Rows of what JSON has of them; see `read_rows`."""
    if not isinstance(found, list):
        raise JaxpartError(f"{where} is not what a run writes as results.json: it has no rows")
    rows = []
    for i, fields in enumerate(found):
        try:
            rows.append(parse_row(fields))
        except ValueError as error:
            raise JaxpartError(f"{where}, row {i}: {error}; run again") from error
    return rows


def parse_row(fields: Any) -> Row:
    """A row of its `fields`; null is NaN, a field that is left out has its default.

    Raises:
      ValueError: They are not those of a row.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"{fields!r} is not a row")
    texts, needed, known = _fields()
    if missing := sorted(needed - fields.keys()):
        raise ValueError(f"the field {missing[0]!r} is missing")
    if unknown := sorted(fields.keys() - known):
        raise ValueError(f"there is no field {unknown[0]!r}")
    for name, value in fields.items():
        right = str if name in texts else int | float | None
        if not isinstance(value, right) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}, not a {'text' if name in texts else 'number'}")
    read: dict[str, Any] = {n: v if n in texts else from_json(v) for n, v in fields.items()}
    return Row(**read)


@functools.cache
def _fields() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Names of the fields of a row: of those that are texts, of those that have no default, of all."""
    fields = dataclasses.fields(Row)
    texts = frozenset(Key._fields)
    needed = frozenset(f.name for f in fields if f.default is dataclasses.MISSING)
    return texts, needed, frozenset(f.name for f in fields)

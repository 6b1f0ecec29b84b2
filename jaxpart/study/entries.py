"""The results of a study, an entry per encoder; some are stored in the package."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxpart.errors import JaxpartError
from jaxpart.io.files import parse_json, path_of
from jaxpart.runs.config_rules import SEED, TEXTS
from jaxpart.runs.rows import VERSION, Row, check_version, parse_rows

STORED = pathlib.Path(__file__).resolve().parent / "results.json"
"""Results of several pretrainings of each method, run once and stored."""

_WITHOUT_EFFECT = ("encoders", "encoder", "method", "seeds", "features", "report", "tensorboard")
"""Configuration fields that do not affect the meaning of a number."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One encoder's results.

    Attributes:
      row: Its row in the table.
      seed: Seed of its pretraining, or None.
      encoder: From its results.json: name, trained, digest, width, depth.
      pretraining: Images seen, seconds and commit, as far as known.
      rows: Results.
    """

    row: str
    seed: int | None
    encoder: Mapping[str, Any]
    pretraining: Mapping[str, Any]
    rows: Sequence[Row]


@dataclasses.dataclass(frozen=True)
class Study:
    """Entries that are comparable in one table.

    Attributes:
      options: The configuration's fields that affect the results; the same for all entries.
      entries: In the order of their rows.
    """

    options: Mapping[str, Any]
    entries: Sequence[Entry]

    def document(self) -> dict[str, Any]:
        """The contents of results.json."""
        return {
            "version": VERSION,
            "options": dict(self.options),
            "entries": [
                dataclasses.asdict(dataclasses.replace(entry, rows=()))
                | {"rows": [row.fields() for row in entry.rows]}
                for entry in self.entries
            ],
        }


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a JSON configuration that affect the results."""
    return {key: value for key, value in config.items() if key not in _WITHOUT_EFFECT}


def read_study(path: str | pathlib.Path) -> Study:
    """Reads the results of a study: its work directory, or a file of stored results.

    Raises:
      JaxpartError: It is missing, not finished, damaged, or not of a study.
    """
    file = path_of(path)
    file = file / "results.json" if file.is_dir() else file
    if not file.is_file():
        raise JaxpartError(
            f"{path} holds no results of a study; run `python -m jaxpart.main --config "
            f"configs/study.py --workdir {path}` to completion"
        )
    try:
        document = parse_json(file.read_bytes())
        check_version(document, file)
        entries = [
            _entry(fields, f"{file}, entry {i}") for i, fields in enumerate(document["entries"])
        ]
        if not entries:
            raise ValueError("it has no entries")
        options = dict(document["options"])
        if fault := TEXTS.fault(options.get("data", {}).get("sets", ())):
            raise ValueError(f"options.data.sets {fault}")
        return Study(options, entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JaxpartError(
            f"{file} is not the results of a study ({error!r}); name the work directory of one"
        ) from error


def _entry(fields: dict[str, Any], where: str) -> Entry:
    """Parses an entry. Raises `JaxpartError` if a field has another type."""
    entry = Entry(**fields | {"rows": parse_rows(fields.get("rows"), where)})
    if (
        not isinstance(entry.row, str)
        or (entry.seed is not None and SEED.fault(entry.seed))
        or not isinstance(entry.encoder, dict)
        or not isinstance(entry.encoder.get("digest"), str)
        or "trained" not in entry.encoder
        or not isinstance(entry.pretraining, dict)
    ):
        raise JaxpartError(f"{where} is damaged; copy the file again")
    return entry


def merge(studies: Iterable[Study]) -> Study:
    """Merges studies with equal options; of equal entries the first is kept.

    Raises:
      JaxpartError: Options differ, or two encoders have the same row and seed.
    """
    options: Mapping[str, Any] | None = None
    entries: dict[tuple[str, int | None], Entry] = {}
    for study in studies:
        if options is not None and options != study.options:
            differing = sorted(
                key
                for key in options.keys() | study.options.keys()
                if options.get(key) != study.options.get(key)
            )
            raise JaxpartError(
                f"results with different options cannot share a table; {', '.join(differing)} differ: "
                f"run both with the same configuration"
            )
        options = study.options
        for entry in study.entries:
            other = entries.setdefault((entry.row, entry.seed), entry)
            if other.encoder["digest"] != entry.encoder["digest"]:
                raise JaxpartError(
                    f"there are two {entry.row} encoders of seed {entry.seed} with different weights; "
                    f"remove one of them"
                )
    return Study(options or {}, list(entries.values()))

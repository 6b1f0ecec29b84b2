"""Finished runs, read from their work directories."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpart.errors import JaxpartError, printable
from jaxpart.io.files import path_of, read_json
from jaxpart.runs.comparable import encoder_differs
from jaxpart.runs.config_checks import read_config
from jaxpart.runs.config_rules import COUNT_OR_NONE
from jaxpart.runs.items import read_items
from jaxpart.runs.paper import METHODS
from jaxpart.runs.rows import Key, Row, read_rows
from jaxpart.runs.unlike import Facts, read_facts
from jaxpart.runs.workdir import read_metrics

_ADVICE = "copy the whole work directory again"


@dataclasses.dataclass(frozen=True)
class Run(Facts):
    """A finished run, as its work directory describes it; its label is unique among those of a report.

    Attributes:
      path: The work directory.
      encoder: From results.json: name, trained, digest, and width and depth if recorded.
      rows: Results.
      steps: Training curves: (step, value) by name, steps ascending.
      rules: Choices made automatically for its encoder, in words, by task and name.
    """

    path: pathlib.Path
    encoder: Mapping[str, Any]
    rows: Sequence[Row]
    steps: Mapping[str, Sequence[tuple[int, float]]]
    rules: Mapping[str, Mapping[str, str]]

    @property
    def method(self) -> str:
        """Its method's name as the paper writes it, or the encoder's own name."""
        return METHODS.get(self.encoder["name"], self.encoder["name"])

    @property
    def caveat(self) -> str:
        """How its encoder differs from the paper's; "" if it is the paper's."""
        return "; ".join(encoder_differs(self.encoder))

    @property
    def arithmetic(self) -> str:
        """ "in bfloat16", if its encoder did not compute in the reference precision; else ""."""
        return f"in {self.encoder['precision']}" if "precision" in self.encoder else ""

    def curves(self) -> dict[Key, Float[np.ndarray, " epoch"]]:
        """Test accuracy after every epoch for each trained head: mean over seeds, at the best rate."""
        curves = {}
        for file in sorted(self.path.glob("*classification_*.npz")):
            for key, array in read_items(file, "copy it again")[1].items():
                if key.metric == "accuracy_by_epoch":
                    by_rate = array.mean(axis=0)  # [seed, rate, epoch]
                    curves[key] = by_rate[by_rate.max(axis=1).argmax()]
        return curves


def read_runs(folders: Sequence[str | pathlib.Path]) -> list[Run]:
    """Reads work directories; a study's (configs/study.py) is expanded to those of its encoders.

    Raises:
      JaxpartError: A folder is not that of a finished run, or is given twice.
    """
    paths = [path for folder in folders for path in _runs_of(path_of(folder))]
    resolved = [path.resolve() for path in paths]
    for i, path in enumerate(resolved):
        if path in resolved[:i]:
            raise JaxpartError(f"the work directory {paths[i]} is named twice; name it once")
    runs = [_read(path) for path in paths]
    names = [run.method for run in runs]
    return [
        dataclasses.replace(
            run,
            label=run.method if names.count(run.method) == 1 else _unique_label(run, runs),
        )
        for run in runs
    ]


def _runs_of(path: pathlib.Path) -> list[pathlib.Path]:
    """The work directories of a study's encoders; for a single run, the folder itself."""
    file = path / "results.json"
    names = read_json(file, _ADVICE).get("runs", []) if file.is_file() else []
    # Labels of `jaxpart.study.members`, which lead nowhere else.
    if not isinstance(names, list) or not all(
        isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name) for name in names
    ):
        raise JaxpartError(f"{file} is damaged: its 'runs' is {names!r}; {_ADVICE}")
    return [path / name for name in names] or [path]


def _unique_label(run: Run, runs: Sequence[Run]) -> str:
    """The method and the folder's name, or its whole path if two folders share the name.

    Line ends and bytes that are not UTF-8 become "?".
    """
    name = run.path.resolve().name
    others = [other for other in runs if other.path.resolve().name == name]
    folder = name if len(others) == 1 else str(run.path)
    return f"{run.method} ({printable(folder, most=len(folder))})"


def _read(path: pathlib.Path) -> Run:
    if not path.is_dir():
        raise JaxpartError(f"there is no work directory {path}; name the folder of a finished run")
    if not (path / "results.json").exists():
        raise JaxpartError(
            f"{path} holds no results.json, so the run is not finished; resume it with --workdir {path}"
        )
    file = path / "results.json"
    results, config = read_json(file, _ADVICE), read_config(path / "config.json")
    try:
        encoder = dict(results["encoder"])
        encoder["name"], encoder["trained"] = str(encoder["name"]), encoder["trained"]
    except (KeyError, TypeError, ValueError):
        raise JaxpartError(f"{file} has no encoder; it was not written by jaxpart.main") from None
    for name in ("width", "depth", "patch_size"):
        if encoder.get(name) is not None and (fault := COUNT_OR_NONE.fault(encoder[name])):
            raise JaxpartError(f"{file} is damaged: encoder.{name} {fault}; {_ADVICE}")
    rules = results.get("rules")
    if not isinstance(rules, dict) or not all(isinstance(v, dict) for v in rules.values()):
        raise JaxpartError(f"{file} is damaged: its 'rules' is {rules!r}; {_ADVICE}")
    return Run(
        path=path,
        label="",
        encoder=encoder,
        config=config,
        rows=read_rows(results, file),
        steps=_steps(path / "metrics.jsonl"),
        rules=rules,
        identity=read_facts(path, "").identity,
    )


def _steps(file: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """The curves in metrics.jsonl, without missing values."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for key, line in (read_metrics(file) if file.exists() else {}).items():
        value = json.loads(line)["value"]
        if not isinstance(key, Key) and value is not None:
            name, step = key
            curves.setdefault(name, []).append((step, float(value)))
    return {name: sorted(points) for name, points in curves.items()}

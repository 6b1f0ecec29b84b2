"""Finished runs, read from their work directories."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpart.errors import JaxpartError, shown
from jaxpart.io.files import parse_json, path_of
from jaxpart.runs.comparable import encoder_differs
from jaxpart.runs.items import read_items
from jaxpart.runs.paper import METHODS
from jaxpart.runs.rows import Key, Row, read_rows
from jaxpart.runs.unlike import Facts, read_facts
from jaxpart.runs.workdir import read_metrics


@dataclasses.dataclass(frozen=True)
class Run:
    """What a work directory says of a run.

    Attributes:
      path: The work directory.
      label: Names it in tables and pictures; unique among the runs of a report.
      encoder: As results.json has it: name, trained, digest, and width and depth where recorded.
      config: The whole configuration.
      rows: Results.
      steps: What was measured during training: (step, value) by name, rising.
      rules: What was decided for its encoder without being asked, in words, by task and name.
      identity: What its encoder and data were, see `jaxpart.runs.unlike.Facts`.
    """

    path: pathlib.Path
    label: str
    encoder: Mapping[str, Any]
    config: Mapping[str, Any]
    rows: Sequence[Row]
    steps: Mapping[str, Sequence[tuple[int, float]]]
    rules: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def method(self) -> str:
        """Name of its method as the paper writes it, or its own."""
        return METHODS.get(self.encoder["name"], self.encoder["name"])

    @property
    def caveat(self) -> str:
        """In what its encoder differs from the paper's; empty where it is that."""
        return "; ".join(encoder_differs(self.encoder))

    @property
    def facts(self) -> Facts:
        """What it was made with."""
        return Facts(self.label, self.config, self.identity)

    @property
    def arithmetic(self) -> str:
        """ "in bfloat16", where its encoder did not compute in the reference precision; else ""."""
        return f"in {self.encoder['precision']}" if "precision" in self.encoder else ""

    def curves(self) -> dict[Key, Float[np.ndarray, " epoch"]]:
        """Test accuracy after every epoch of each trained head, mean over seeds, best rate."""
        found = {}
        for file in sorted(self.path.glob("*classification_*.npz")):
            for key, array in read_items(file, "copy it again")[1].items():
                if key.metric == "accuracy_by_epoch":
                    by_rate = array.mean(axis=0)  # [seed, rate, epoch]
                    found[key] = by_rate[by_rate.max(axis=1).argmax()]
        return found


def read_runs(folders: Sequence[str | pathlib.Path]) -> list[Run]:
    """Reads work directories; that of a study (configs/study.py) stands for its encoders'.

    Raises:
      JaxpartError: One is not the folder of a finished run, or is named twice.
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
            label=run.method if names.count(run.method) == 1 else _distinct_colours(run, runs),
        )
        for run in runs
    ]


def _runs_of(path: pathlib.Path) -> list[pathlib.Path]:
    """The work directories of a study's encoders; the folder itself, if it is of one run."""
    file = path / "results.json"
    names = _json(file).get("runs", ()) if file.is_file() else ()
    return [path / name for name in names] or [path]


def _distinct_colours(run: Run, runs: Sequence[Run]) -> str:
    """The method and the folder's name; its whole path where two folders share that.

    What of it is no text, as line ends and bytes that are not UTF-8, is a "?".
    """
    name = run.path.resolve().name
    others = [other for other in runs if other.path.resolve().name == name]
    said = name if len(others) == 1 else str(run.path)
    return f"{run.method} ({shown(said, most=len(said))})"


def _read(path: pathlib.Path) -> Run:
    if not path.is_dir():
        raise JaxpartError(f"there is no work directory {path}; name the folder of a finished run")
    if not (path / "results.json").exists():
        raise JaxpartError(
            f"{path} holds no results.json, so the run is not finished; resume it with --workdir {path}"
        )
    results, config = _json(path / "results.json"), _json(path / "config.json")
    for name in ("data", "encoder", "features"):
        if not isinstance(config.get(name, {}), dict):
            raise JaxpartError(
                f"{path / 'config.json'} is damaged: its {name!r} is {config[name]!r}; copy it again"
            )
    try:
        encoder = dict(results["encoder"])
        encoder["name"], encoder["trained"] = str(encoder["name"]), encoder["trained"]
    except (KeyError, TypeError, ValueError):
        raise JaxpartError(
            f"{path / 'results.json'} has no encoder; it is not one of jaxpart.main's"
        ) from None
    return Run(
        path=path,
        label="",
        encoder=encoder,
        config=config,
        rows=read_rows(results, path / "results.json"),
        steps=_steps(path / "metrics.jsonl"),
        rules=results.get("rules", {}),  # older runs say nothing
        identity=read_facts(path, "").identity,
    )


def _json(file: pathlib.Path) -> dict[str, Any]:
    try:
        return parse_json(file.read_bytes())
    except FileNotFoundError:
        raise JaxpartError(f"{file} is missing; copy the whole work directory") from None
    except (OSError, ValueError) as error:
        raise JaxpartError(f"{file} cannot be read ({error}); copy it again") from error


def _steps(file: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """What metrics.jsonl holds of each step; what has no value is left out."""
    found: dict[str, list[tuple[int, float]]] = {}
    for what, line in (read_metrics(file) if file.exists() else {}).items():
        value = json.loads(line)["value"]
        if not isinstance(what, Key) and value is not None:
            name, step = what
            found.setdefault(name, []).append((step, float(value)))
    return {name: sorted(points) for name, points in found.items()}

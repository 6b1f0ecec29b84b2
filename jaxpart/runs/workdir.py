"""The folder of a run: everything needed to reproduce it, and its results."""

from __future__ import annotations

import datetime
import errno
import importlib.metadata
import json
import os
import pathlib
import platform
import time
import zlib
from collections.abc import Mapping
from typing import Any, TextIO

from jaxpart.data.identity import identity_of
from jaxpart.data.source import Source
from jaxpart.errors import JaxpartError
from jaxpart.io.files import (
    from_json,
    in_bucket,
    moved_into_place,
    read_json,
    sealed_json,
    to_json,
)
from jaxpart.runs.config_rules import fields_of
from jaxpart.runs.events import event_writer
from jaxpart.runs.rows import Key, Row, check_number, parse_row

_METRICS = "metrics.jsonl"
IDENTITY = "identity.json"
_PATHS = ("data.root", "encoder.checkpoint", "encoder.features", "encoders", "features.folder")
_SUM = "crc32"
Measured = Key | tuple[str, int]
"""Identifies a line of metrics.jsonl: the key of a result, or a name and a training step."""

_PACKAGES = (
    "jaxpart",
    "jax",
    "jaxlib",
    "flax",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scipy",
)


def _data_name(task: str, source: Source) -> str:
    """The name of a task's data in a folder's identities; for the task see `WorkDir.reads`."""
    return f"the data of {task} ({source.info.split})"


def check_unchanged(
    run: pathlib.Path, identity: Mapping[str, Any], task: str, source: Source
) -> None:
    """Raises `JaxpartError` if a task of a run read other images or annotations than a source has now.

    Args:
      run: The run's folder.
      identity: Its identities; nothing is compared where they lack the task's data.
      task: See `WorkDir.reads`.
      source: A data set split.
    """
    what = _data_name(task, source)
    if what in identity and identity[what] != identity_of(source):
        info = source.info
        raise JaxpartError(
            f"{info.name} ({info.split}) has changed since {run} ran; restore it, or run again"
        )


def check_same_weights(run: pathlib.Path, then: Any, now: str) -> None:
    """Raises `JaxpartError` if the digest of a run's encoder is another now than when it ran."""
    if then != now:
        raise JaxpartError(
            f"the encoder of {run} has different weights than when it ran; run it again"
        )


def default_workdir(name: str) -> pathlib.Path:
    """A new folder name below ./runs."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    base = pathlib.Path("runs") / f"{name}-{now}"
    return next(
        path
        for i in range(1000)
        if not (path := base if not i else base.with_name(f"{base.name}-{i}")).exists()
    )


def check_place(path: pathlib.Path) -> None:
    """Raises `JaxpartError` where a work directory could not be made or written; makes nothing."""
    if in_bucket(path):
        return
    above = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
    if not above.is_dir():
        raise _unwritable(path, os.strerror(errno.EEXIST if above == path else errno.ENOTDIR))
    if not os.access(above, os.W_OK | os.X_OK):
        raise _unwritable(path, os.strerror(errno.EACCES))


def _unwritable(path: pathlib.Path, reason: str | None) -> JaxpartError:
    return JaxpartError(
        f"the work directory {path} cannot be written: {reason}; make room there or name another "
        "--workdir"
    )


def read_metrics(file: pathlib.Path) -> dict[Measured, str]:
    """The last line of metrics.jsonl for each measurement; a truncated last line is dropped.

    Raises:
      JaxpartError: A line is damaged.
    """
    line_of: dict[Measured, str] = {}
    try:
        *lines, rest = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise JaxpartError(f"{file} cannot be read ({error.strerror}); copy it again") from error
    for number, line in enumerate([*lines, *([rest] if "}" in rest else [])], 1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("it is not a measurement")
            if _SUM in entry and entry.pop(_SUM) != _crc(entry):
                raise ValueError("it was modified after it was written")
            entry.pop("time", None)
            if "name" not in entry:
                what: Measured = parse_row(entry).key
            elif entry.keys() == {"name", "step", "value"}:
                for name in ("step", "value"):
                    check_number(name, entry[name])
                what = str(entry["name"]), int(entry["step"])
            else:
                raise ValueError("it is not a measurement")
        except (ValueError, TypeError, RecursionError) as error:
            raise JaxpartError(
                f"{file}, line {number} is damaged ({error}); copy the file again, or start over "
                "with another --workdir"
            ) from error
        line_of[what] = line
    return line_of


def _crc(entry: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(entry, sort_keys=True).encode()):08x}"


class WorkDir:
    """Writes config.json, identity.json, versions.json, metrics.jsonl and results.json.

    Undefined values, such as the mIoU of images whose pixels are all ignored, are null. Files that are read
    back have checksums.

    A folder belongs to one configuration, encoder and data, independent of their paths: see `belongs_to`.

    An interrupted run resumes in the same folder: measurements are kept, and replaced if they are repeated.
    """

    def __init__(
        self,
        path: pathlib.Path,
        config: dict[str, Any],
        *,
        writes: bool = True,
        tensorboard: bool = False,
    ) -> None:
        """Creates or reopens the folder.

        Args:
          path: The folder.
          config: The whole configuration.
          writes: False for processes other than the main one, which do not write.
          tensorboard: Whether to also write TensorBoard events.

        Raises:
          JaxpartError: The folder cannot be written, or belongs to a run with another configuration.
        """
        self.path = path
        self._writes = writes
        self._measured: dict[Measured, str] = {}
        self._identity: dict[str, str] = {}
        self._metrics: TextIO | None = None
        self._events: Any = None
        if not writes:
            return
        try:
            if tensorboard:
                self._events = event_writer(path / "tensorboard")
            path.mkdir(parents=True, exist_ok=True)
            self._read_identity()
            self._check_config(config)
            self.file("config.json", sealed_json(config).encode())
            self.file("versions.json", (to_json(_versions()) + "\n").encode())
            self._read_metrics()
            if not in_bucket(path):  # buckets cannot append
                self._metrics = (path / _METRICS).open("a", encoding="utf-8")
        except OSError as error:
            raise _unwritable(self.path, error.strerror) from error

    def _read_identity(self) -> None:
        """Reads the identities of the folder, or creates an empty file before any other."""
        file = self.path / IDENTITY
        if file.exists():
            self._identity = read_json(file, "name another --workdir")
            if not all(isinstance(value, str) for value in self._identity.values()):
                raise JaxpartError(f"{file} is damaged; name another --workdir")
        elif (self.path / "config.json").exists():
            raise JaxpartError(
                f"{self.path} does not say which encoder and data its run used, so it cannot be "
                "resumed there; name another --workdir"
            )
        else:
            self.file(IDENTITY, sealed_json({}).encode())

    def belongs_to(self, what: str, identity: str) -> None:
        """Binds the folder to an encoder or data set.

        Args:
          what: "the encoder", "the data cub_parts (test)".
          identity: Identifies its content, independent of its path; usually a hash.

        Raises:
          JaxpartError: The folder is bound to another identity, or cannot be written.
        """
        if not self._writes or self._identity.get(what) == identity:
            return
        if what in self._identity:
            raise JaxpartError(
                f"{self.path} belongs to a run for which {what} was different "
                f"({self._identity[what][:12]} then, {identity[:12]} now); restore it, or name "
                "another --workdir"
            )
        self._identity[what] = identity
        self.file(IDENTITY, sealed_json(self._identity).encode())

    def reads(self, task: str, *sources: Source) -> None:
        """Binds the folder to images and annotations, see `belongs_to`.

        Args:
          task: Their use, "cub_parts/classification".
          sources: Data set splits.

        Raises:
          JaxpartError: See `belongs_to`.
        """
        for source in sources if self._writes else ():
            self.belongs_to(_data_name(task, source), identity_of(source))

    def _read_metrics(self) -> None:
        """Reads the measurements of earlier processes."""
        file = self.path / _METRICS
        if file.exists():
            self._measured = read_metrics(file)
            self.file(_METRICS, self._lines().encode())

    def _lines(self) -> str:
        return "".join(f"{line}\n" for line in self._measured.values())

    def _check_config(self, config: dict[str, Any]) -> None:
        file = self.path / "config.json"
        if not file.exists():
            return
        changes = config_changes(read_json(file, "name another --workdir"), config)
        if changes:
            shown = "; ".join(f"{k}: {old} then, {new} now" for k, (old, new) in changes[:5])
            raise JaxpartError(
                f"{self.path} belongs to a run with another configuration ({shown}); name another "
                f"--workdir"
            )

    def row(self, row: Row) -> None:
        """Appends a result and the time to metrics.jsonl."""
        self._append(row.key, row.fields())
        if self._events is not None:
            self._events.add_scalar(row.key.name, row.value, 0)

    def metric(self, name: str, value: float, *, step: int) -> None:
        """Appends a measurement during training to metrics.jsonl.

        Args:
          name: Name of the metric.
          value: Its value.
          step: Training step.
        """
        self._append((name, step), {"name": name, "step": step, "value": value})
        if self._events is not None:
            self._events.add_scalar(name, value, step)

    def _append(self, what: Measured, fields: Mapping[str, Any]) -> None:
        if not self._writes:
            return
        entry = {"time": round(time.time(), 3), **fields}
        entry = json.loads(to_json(entry, indent=None))  # NaN becomes null
        line = to_json({**entry, _SUM: _crc(entry)}, indent=None)
        self._measured[what] = line
        if self._metrics is None:
            self.file(_METRICS, self._lines().encode())
            return
        try:
            self._metrics.write(line + "\n")
            self._metrics.flush()
        except OSError as error:
            raise _unwritable(self.path, error.strerror) from error

    def measured(self) -> list[dict[str, Any]]:
        """The latest value of each measurement, including those before a resume."""
        entries = (json.loads(line) for line in self._measured.values())
        return [
            {k: v for k, v in entry.items() if k != _SUM} | {"value": from_json(entry["value"])}
            for entry in entries
        ]

    def finish(self, results: dict[str, Any]) -> None:
        """Writes results.json, and rewrites metrics.jsonl without repeated measurements."""
        if not self._writes:
            return
        if self._events is not None:
            self._events.close()
        try:
            if self._metrics is not None:
                self._metrics.close()
            self.file(_METRICS, self._lines().encode())
            self.file("results.json", sealed_json(results).encode())
        except OSError as error:
            raise _unwritable(self.path, error.strerror) from error

    def file(self, name: str, content: bytes) -> None:
        """Writes a file of the run atomically; only in the main process.

        Args:
          name: Its path below the folder; parent folders are created.
          content: Its bytes.

        Raises:
          JaxpartError: It cannot be written.
        """
        if not self._writes:
            return
        try:
            with moved_into_place(self.path / name) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise _unwritable(self.path, error.strerror) from error


def config_changes(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> list[tuple[str, tuple[Any, Any]]]:
    """Fields of two configurations that differ: (name, (before, now)).

    Paths of the encoder and the data are ignored, since `WorkDir.belongs_to` compares their content.
    """
    old, new = dict(fields_of(before)), dict(fields_of(json.loads(json.dumps(now))))
    names = sorted((old.keys() | new.keys()) - set(_PATHS))
    changes = ((name, (old.get(name), new.get(name))) for name in names)
    return [(name, (then, now)) for name, (then, now) in changes if then != now]


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "machine": platform.platform(), **versions}

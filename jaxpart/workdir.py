"""The folder of a run: everything that is needed to repeat it, and what came out."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import pathlib
import platform
import time
from typing import Any, TextIO

from jaxpart.errors import JaxpartError
from jaxpart.events import event_writer
from jaxpart.files import from_json, moved_into_place, to_json

_METRICS = "metrics.jsonl"
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


def default_workdir(name: str) -> pathlib.Path:
    """A fresh folder under ./runs."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    base = pathlib.Path("runs") / f"{name}-{now}"
    return next(
        path
        for i in range(1000)
        if not (path := base if not i else base.with_name(f"{base.name}-{i}")).exists()
    )


class WorkDir:
    """Writes config.json, versions.json, metrics.jsonl and results.json.

    What has no value, as the mIoU of images whose pixels are all ignored, is null there.

    A run that was ended goes on in the same folder: what it measured stays, and what is measured again
    takes the place of what was.
    """

    def __init__(
        self,
        path: pathlib.Path,
        config: dict[str, Any],
        *,
        writes: bool = True,
        tensorboard: bool = False,
    ) -> None:
        """Makes the folder.

        Args:
          path: The folder.
          config: The whole configuration.
          writes: False for processes beside the main one, which leave the files to it.
          tensorboard: Whether what is measured is also written as TensorBoard events.

        Raises:
          JaxpartError: The folder cannot be written, or belongs to a run with another configuration.
        """
        self.path = path
        self._writes = writes
        self._measured: dict[tuple[str, int | None], str] = {}
        self._metrics: TextIO | None = None
        self._events: Any = None
        if not writes:
            return
        try:
            if tensorboard:
                self._events = event_writer(path / "tensorboard")
            path.mkdir(parents=True, exist_ok=True)
            self._check_config(config)
            self.file("config.json", _json(config))
            self.file("versions.json", _json(_versions()))
            self._read_metrics()
            self._metrics = (path / _METRICS).open("a", encoding="utf-8")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> JaxpartError:
        return JaxpartError(
            f"the work directory {self.path} cannot be written: {error.strerror}; make room there or "
            f"name another --workdir"
        )

    def _read_metrics(self) -> None:
        """Reads what an earlier process measured; a line that was cut off is dropped."""
        file = self.path / _METRICS
        if not file.exists():
            return
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                self._measured[entry["name"], entry.get("step")] = line
            except (ValueError, KeyError, TypeError):
                continue
        self.file(_METRICS, self._lines().encode())

    def _lines(self) -> str:
        return "".join(f"{line}\n" for line in self._measured.values())

    def _check_config(self, config: dict[str, Any]) -> None:
        file = self.path / "config.json"
        if not file.exists():
            return
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise JaxpartError(f"{file} is damaged ({error}); name another --workdir") from error
        now = json.loads(json.dumps(config))
        if before != now:
            ours, theirs = _leaves(now), _leaves(before)
            keys = [k for k in sorted(ours.keys() | theirs.keys()) if ours.get(k) != theirs.get(k)]
            shown = "; ".join(f"{k}: {theirs.get(k)} there, {ours.get(k)} now" for k in keys[:5])
            raise JaxpartError(
                f"{self.path} belongs to a run with another configuration ({shown}); name another "
                f"--workdir"
            )

    def metric(self, name: str, value: float | int, *, step: int | None = None) -> None:
        """Appends a measurement to metrics.jsonl.

        Args:
          name: What is measured.
          value: Its value.
          step: Of training, where it has many.
        """
        if self._metrics is None:
            return
        at = {} if step is None else {"step": step}
        entry = {"time": round(time.time(), 3), "name": name, **at, "value": value}
        line = to_json(entry, indent=None)
        try:
            self._metrics.write(line + "\n")
            self._metrics.flush()
        except OSError as error:
            raise self._unwritable(error) from error
        self._measured[name, step] = line
        if self._events is not None:
            self._events.add_scalar(name, value, step or 0)

    def measured(self) -> list[dict[str, Any]]:
        """All measurements so far, those before a resume too; the last of each name and step."""
        entries = (json.loads(line) for line in self._measured.values())
        return [entry | {"value": from_json(entry["value"])} for entry in entries]

    def finish(self, results: dict[str, Any]) -> None:
        """Writes results.json, and metrics.jsonl anew without what was measured twice."""
        if self._metrics is None:
            return
        if self._events is not None:
            self._events.close()
        try:
            self._metrics.close()
            self.file(_METRICS, self._lines().encode())
            self.file("results.json", _json(results))
        except OSError as error:
            raise self._unwritable(error) from error

    def file(self, name: str, content: bytes) -> None:
        """Writes a file of the run, whole or not at all; only the main process does.

        Args:
          name: Its path below the folder; folders on the way are made.
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
            raise self._unwritable(error) from error


def _json(value: Any) -> bytes:
    return (to_json(value) + "\n").encode()


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        path: value
        for key, branch in tree.items()
        for path, value in _leaves(branch, f"{prefix}.{key}" if prefix else key).items()
    }


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "machine": platform.platform(), **versions}

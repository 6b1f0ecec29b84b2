"""The folder of a run: everything that is needed to repeat it, and what came out."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import time
from typing import Any

from jaxpart.errors import JaxpartError

_PACKAGES = ("jaxpart", "jax", "jaxlib", "flax", "numpy", "pillow", "scipy")


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
    """Writes config.json, versions.json, metrics.jsonl and results.json."""

    def __init__(self, path: pathlib.Path, config: dict[str, Any]) -> None:
        """Makes the folder.

        Raises:
          JaxpartError: The folder cannot be written, or belongs to a run with another configuration.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._check_config(config)
            self._write("config.json", config)
            self._write("versions.json", _versions())
            self._metrics = (path / "metrics.jsonl").open("w", encoding="utf-8")
        except OSError as error:
            raise JaxpartError(
                f"the work directory {path} cannot be written: {error.strerror}"
            ) from error

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

    def metric(self, name: str, value: float | int) -> None:
        """Appends a measurement to metrics.jsonl."""
        line = json.dumps({"time": round(time.time(), 3), "name": name, "value": value})
        try:
            self._metrics.write(line + "\n")
            self._metrics.flush()
        except OSError as error:
            raise JaxpartError(f"{self.path} cannot be written: {error.strerror}") from error

    def finish(self, results: dict[str, Any]) -> None:
        """Writes results.json."""
        try:
            self._metrics.close()
            self._write("results.json", results)
        except OSError as error:
            raise JaxpartError(f"{self.path} cannot be written: {error.strerror}") from error

    def file(self, name: str, content: bytes) -> None:
        """Writes a file of the run, whole or not at all.

        Args:
          name: Its path below the folder; folders on the way are made.
          content: Its bytes.

        Raises:
          JaxpartError: It cannot be written.
        """
        path = self.path / name
        temporary = path.with_name(f".{path.name}.writing-{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except OSError as error:
            raise JaxpartError(f"{path} cannot be written: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _write(self, name: str, value: Any) -> None:
        self.file(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


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

"""Pretrain an encoder: python -m jaxpart.pretraining --config configs/pretrain/mae.py --workdir DIR

Writes DIR/encoder, which `jaxpart.load_encoder` and the tasks read like a converted checkpoint, and
its loss curve to metrics.jsonl. The same command resumes a stopped run.
"""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import json
import pathlib
import sys
from typing import Any

from jaxpart import command, devices
from jaxpart.io.files import on_disk
from jaxpart.pretraining.recipe_checks import check_recipe, field_of
from jaxpart.pretraining.run import pretrain
from jaxpart.runs.progress import Progress
from jaxpart.runs.workdir import WorkDir


def main(config: Any, path: pathlib.Path) -> None:
    """Trains an encoder from a configuration, in a work directory."""
    check_recipe(config)
    path = on_disk(path, "a pretraining run's work directory")
    progress = Progress(shown=devices.is_main())
    workdir = WorkDir(path, json.loads(config.to_json_best_effort()), writes=devices.is_main())
    results = pretrain(config, workdir, progress)
    workdir.finish(results)
    if not devices.is_main():
        return
    loss = results["curve"]["loss"]
    print(
        f"{config.method}: {results['images_seen']} images in {results['seconds']} s, loss "
        f"{loss[0]} to {loss[-1]}, written to {path / 'encoder'}"
    )


def entry() -> int:
    """Runs `main`; returns the exit status."""
    return command.entry(main, "configs/pretrain/mae.py", field_of)


if __name__ == "__main__":
    sys.exit(entry())

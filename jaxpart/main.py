"""Measure how part-aware an encoder is: python -m jaxpart.main --config configs/ibot_part.py

Runs the tasks of a configuration, prints a table, and keeps everything in the work directory.
Values are changed on the command line, as in --config.data.num_images=200.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from jaxpart import command, devices, tasks
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.loading import load_encoder, random_encoder
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError
from jaxpart.progress import Progress
from jaxpart.table import results_table
from jaxpart.workdir import WorkDir


def make_encoder(config: Any) -> Encoder:
    """The encoder that a configuration asks for."""
    if config.encoder.checkpoint:
        return load_encoder(config.encoder.checkpoint)
    if not config.encoder.small:
        raise JaxpartError(
            f"the encoder is missing: pass --config.encoder.checkpoint=FOLDER, made of the released "
            f"checkpoint by `python -m convert {config.method} CHECKPOINT FOLDER`"
        )
    return random_encoder(config.method, small_config(config.method), seed=config.seed)


def run(config: Any, workdir: WorkDir, progress: Progress) -> dict[str, Any]:
    """Runs the tasks of a configuration; returns what results.json holds."""
    chosen = tasks.to_run(config.tasks)
    encoder = devices.replicate(make_encoder(config))
    values: dict[str, float | int] = {}
    for task in chosen:
        for key, value in task.run(encoder, config, workdir, progress):
            values[key] = value
            workdir.metric(key, value)
    about = {"name": encoder.name, "trained": encoder.trained, "digest": encoder.digest}
    return {"encoder": about, "tasks": list(config.tasks), "values": values}


def main(arguments: list[str]) -> None:
    """Runs the command line."""
    del arguments
    config, path = command.start("configs/ibot_part.py")
    progress = Progress(shown=devices.is_main())
    workdir = WorkDir(path, json.loads(config.to_json_best_effort()), writes=devices.is_main())
    results = run(config, workdir, progress)
    workdir.finish(results)
    if not devices.is_main():
        return
    sections = [tasks.find(name).section(results["values"]) for name in config.tasks]
    print(results_table(results["encoder"], sections))
    print(f"results: {path / 'results.json'}")


def entry() -> int:
    """Runs `main`; returns the exit status."""
    return command.entry(main)


if __name__ == "__main__":
    sys.exit(entry())

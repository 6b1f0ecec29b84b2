"""Measure how part-aware an encoder is: python -m jaxpart.main --config configs/ibot_part.py

Runs the tasks of a configuration, prints a table, and keeps everything in the work directory;
`python -m jaxpart.report WORKDIR` makes a page of it. Values are changed on the command line, as in
--config.data.num_images=200.
"""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

import jax

from jaxpart import command, devices, tasks
from jaxpart.encoders.configured import configured_encoder
from jaxpart.progress import Progress
from jaxpart.table import results_table
from jaxpart.workdir import WorkDir


def run(config: Any, workdir: WorkDir, progress: Progress) -> dict[str, Any]:
    """Runs the tasks of a configuration; returns what results.json holds."""
    chosen = tasks.to_run(config.tasks)
    encoder = devices.replicate(configured_encoder(config))
    values: dict[str, float | int] = {}
    for task in chosen:
        for key, value in task.run(encoder, config, workdir, progress):
            values[key] = value
            workdir.metric(key, value)
    about = {
        "name": encoder.name,
        "trained": encoder.trained,
        "digest": encoder.digest,
        "width": encoder.config.width,
        "depth": encoder.config.depth,
    }
    return {"encoder": about, "tasks": list(config.tasks), "values": values}


def main(arguments: list[str]) -> None:
    """Runs the command line."""
    del arguments
    config, path = command.start("configs/ibot_part.py")
    progress = Progress(shown=devices.is_main())
    workdir = WorkDir(
        path,
        json.loads(config.to_json_best_effort()),
        writes=devices.is_main(),
        tensorboard=config.tensorboard,
    )
    results = run(config, workdir, progress)
    workdir.finish(results)
    if not devices.is_main():
        return
    sections = [tasks.find(name).section(results["values"]) for name in config.tasks]
    print(results_table(results["encoder"], sections))
    print(f"results: {path / 'results.json'}")
    if config.report and jax.process_count() == 1:
        from jaxpart.report.looking import Limits  # Slow to import.
        from jaxpart.report.making import make_report

        make_report([path], path / "report", Limits(), progress)
        print(f"report:  {path / 'report' / 'index.html'}")
    else:
        print(f"to look at it: python -m jaxpart.report {shlex.quote(str(path))} --out report")


def entry() -> int:
    """Runs `main`; returns the exit status."""
    return command.entry(main)


if __name__ == "__main__":
    sys.exit(entry())

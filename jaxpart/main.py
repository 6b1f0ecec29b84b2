"""Measure how part-aware an encoder is: python -m jaxpart.main --config configs/ibot_part.py

Runs the tasks of a configuration, prints a table, and keeps everything in the work directory;
`python -m jaxpart.report WORKDIR` makes a page of it. Values are changed on the command line, as in
--config.data.num_images=200.
"""

from __future__ import annotations

import json
import pathlib
import shlex
import signal
import sys
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from jaxpart import config as configs
from jaxpart import devices, tasks
from jaxpart.encoders.configured import configured_encoder
from jaxpart.errors import JaxpartError
from jaxpart.progress import Progress
from jaxpart.table import results_table
from jaxpart.workdir import WorkDir, default_workdir

_CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; default: a new one in ./runs.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0 of several.")
_NUM_PROCESSES = flags.DEFINE_integer("num-processes", None, "How many processes there are.")
_PROCESS_ID = flags.DEFINE_integer("process-id", None, "Which of them this is, from 0.")


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
    logging.set_verbosity(logging.WARNING)  # the libraries' news are not the user's
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # training saves its place first: `fit`
    devices.start(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    config = _CONFIG.value
    if config is None:
        raise JaxpartError("pass --config, as in --config configs/ibot_part.py")
    name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    path = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else default_workdir(name)
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


def _command_line(arguments: list[str]) -> list[str]:
    """The command line with the path of an embedded configuration filled in."""
    given = list(arguments)
    for i, argument in enumerate(given):
        if argument in ("--config", "-config") and i + 1 < len(given):
            given[i + 1] = configs.locate(given[i + 1])
        elif argument.startswith("--config="):
            given[i] = "--config=" + configs.locate(argument.removeprefix("--config="))
    return given


def entry() -> int:
    """Runs `main`; a user's mistake is told in one sentence. Returns the exit status."""
    try:
        sys.argv = _command_line(sys.argv)  # where ml_collections looks for --config.field=value
        app.run(main)
    except JaxpartError as error:
        print(f"{devices.log_prefix()}error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(entry())

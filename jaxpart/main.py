"""Measures how part-aware encoders are: python -m jaxpart.main --config configs/ibot_part.py

Runs the tasks of a configuration with its encoder, or with each of the encoders of a study
(configs/study.py), prints a table, and writes everything to the work directory, on a disk or in a
bucket; `python -m jaxpart.report WORKDIR` makes a page of it. Override any value on the command line, as
in --config.data.num_images=200. With --dry-run it only estimates the number of images to encode, the disk
space and the time.
"""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import pathlib
import shlex
import sys
from typing import Any

from jaxpart import command, devices
from jaxpart.evaluation import expected, measure, results_text
from jaxpart.runs.config_fields import field_of
from jaxpart.runs.progress import Progress


def main(config: Any, path: pathlib.Path) -> None:
    """Runs the tasks of a configuration in a work directory, and prints the results."""
    progress = Progress(shown=devices.is_main())
    if "encoders" in config:
        from jaxpart.study.evaluate import run_study, study_text  # Not needed otherwise.

        text = study_text(run_study(config, path, progress))
    else:
        text = results_text(measure(config, path, progress))
    if not devices.is_main():
        return
    print(text)
    print(f"results: {path / 'results.json'}")
    if config.report and devices.num_processes() == 1:
        from jaxpart.report.build import make_report
        from jaxpart.report.evaluate import Limits  # Slow to import.

        make_report([path], path / "report", Limits(functions=True), progress)
        print(f"report:  {path / 'report' / 'index.html'}")
    else:
        print(f"to view it: python -m jaxpart.report {shlex.quote(str(path))} --out report")


def dry_run(config: Any) -> None:
    """Prints an estimate of what `main` would encode, store and take."""
    from jaxpart.tasks.estimate import lines

    progress = Progress(shown=devices.is_main())
    if "encoders" in config:
        from jaxpart.study.evaluate import expected_of_study  # Not needed otherwise.

        estimates = list(expected_of_study(config, progress))
    else:
        estimates = expected(config, progress)
    estimate_lines = lines(estimates)
    if devices.is_main():
        print("\n".join(estimate_lines))


def entry() -> int:
    """Runs `main`, or `dry_run`; returns the exit status."""
    return command.entry(main, "configs/ibot_part.py", field_of, dry_run=dry_run)


if __name__ == "__main__":
    sys.exit(entry())

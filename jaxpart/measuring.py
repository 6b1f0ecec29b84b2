"""One encoder measured: the tasks of a configuration, and what they leave in a work directory."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxpart import devices, tasks
from jaxpart.encoders.configured import configured_encoder, encoder_folder
from jaxpart.encoders.loading import unchecked_note
from jaxpart.encoders.precision import REFERENCE
from jaxpart.progress import Progress
from jaxpart.table import results_table
from jaxpart.workdir import WorkDir


def measure(config: Any, path: pathlib.Path, progress: Progress) -> dict[str, Any]:
    """Runs the tasks of a configuration with its encoder.

    Args:
      config: See `jaxpart.config`.
      path: The work directory.
      progress: Shows how far it is.

    Returns:
      What results.json holds.

    Raises:
      JaxpartError: A user's mistake, in one sentence.
    """
    chosen = tasks.to_run(config.tasks)
    workdir = WorkDir(
        path,
        json.loads(config.to_json_best_effort()),
        writes=devices.is_main(),
        tensorboard=config.tensorboard,
    )
    encoder = configured_encoder(config)
    folder = encoder_folder(config)
    if folder is not None and (note := unchecked_note(folder)):
        progress.say(note)
    workdir.belongs_to("the encoder", encoder.digest)
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
    if encoder.precision != REFERENCE:
        about["precision"] = encoder.precision
    results = {"encoder": about, "tasks": list(config.tasks), "values": values}
    workdir.finish(results)
    return results


def results_text(results: Mapping[str, Any]) -> str:
    """The table of one encoder's results, a section per task."""
    sections = [tasks.find(name).section(results["values"]) for name in results["tasks"]]
    return results_table(results["encoder"], sections)

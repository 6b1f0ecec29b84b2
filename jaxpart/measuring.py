"""One encoder measured: the tasks of a configuration, and what they leave in a work directory."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxpart import devices, tasks
from jaxpart.config_checks import check_config
from jaxpart.encoders.configured import configured_encoder
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.precision import REFERENCE
from jaxpart.progress import Progress
from jaxpart.table import results_table
from jaxpart.tasks.patches import patch_representations
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
    check_config(config)
    chosen = tasks.to_run(config.tasks)
    encoder = configured_encoder(config)
    _check_representations(encoder, config)
    workdir = WorkDir(
        path,
        json.loads(config.to_json_best_effort()),
        writes=devices.is_main(),
        tensorboard=config.tensorboard,
    )
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


def _check_representations(encoder: Encoder, config: Any) -> None:
    """Refuses what the encoder does not have, before anything is made."""
    patch_representations(encoder, config)
    for task in ("classification", "object_classification"):
        if task in config.tasks:
            from jaxpart.tasks.probing import check_heads  # Slow to import.

            check_heads(encoder, config[task])


def results_text(results: Mapping[str, Any]) -> str:
    """The table of one encoder's results, a section per task."""
    sections = [tasks.find(name).section(results["values"]) for name in results["tasks"]]
    return results_table(results["encoder"], sections)

"""One encoder measured: the tasks of a configuration, and what they leave in a work directory."""

from __future__ import annotations

import json
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

from jaxpart import devices, tasks
from jaxpart.encoders.configured import configured_encoder, encoder_folder
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.function import FunctionEncoder
from jaxpart.encoders.loading import describe, unchecked_note
from jaxpart.encoders.precision import REFERENCE
from jaxpart.errors import JaxpartError
from jaxpart.runs.config_checks import check_config
from jaxpart.runs.paper import CHECKSUMS
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import VERSION, Row, read_rows
from jaxpart.runs.table import results_table, rules_line
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.fitting import fitted
from jaxpart.tasks.plans import carry_out


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
    tasks.chosen(config)
    weights = _weights(config)
    encoder = configured_encoder(config)
    return measure_encoder(encoder, config, path, progress, weights=weights)


def measure_encoder(
    encoder: FrozenEncoder, config: Any, path: pathlib.Path, progress: Progress, *, weights: str
) -> dict[str, Any]:
    """Runs the tasks of a checked configuration with an encoder: see `measure`.

    Args:
      encoder: The frozen encoder, on all devices.
      config: See `jaxpart.config`.
      path: The work directory.
      progress: Shows how far it is.
      weights: Whose weights it has, in words.
    """
    config = fitted(config, encoder, progress.say)
    chosen = tasks.chosen(config)
    # All that can be wrong is told before anything is encoded or written.
    plans = [plan for task in chosen.values() for plan in task.plans(encoder, config, progress)]
    workdir = WorkDir(
        path,
        json.loads(config.to_json_best_effort()),
        writes=devices.is_main(),
        tensorboard=config.tensorboard,
    )
    folder = encoder_folder(config)
    if folder is not None and (note := unchecked_note(folder)):
        progress.say(note)
    if isinstance(encoder, FunctionEncoder) and not encoder.version:
        progress.say(
            f"{encoder.name} has no version (--config.encoder.version): no feature is kept, and the run "
            f"cannot go on if it is interrupted"
        )
    # Without a digest nothing tells whether what the folder holds came of the same encoder.
    workdir.belongs_to("the encoder", encoder.digest or str(uuid.uuid4()))
    for plan in plans:
        workdir.reads(plan.what, *plan.sources)
    rows: list[Row] = []
    for row in carry_out(plans, config.features, workdir, progress):
        rows.append(row)
        workdir.row(row)
    about = {
        "name": encoder.name,
        "trained": encoder.trained,
        "digest": encoder.digest,
        **_size(encoder),
        "weights": weights,
    }
    if encoder.name == "mae":  # whose patches the published code permutes
        about["patch_order"] = config.encoder.get("patch_order", "kept")
    if encoder.precision != REFERENCE:
        about["precision"] = encoder.precision
    rules = {
        name: said for name, task in chosen.items() if (said := dict(task.rules(encoder, config)))
    }
    results = {
        "version": VERSION,
        "encoder": about,
        "tasks": list(config.tasks),
        "rules": rules,
        "rows": [row.fields() for row in rows],
    }
    workdir.finish(results)
    return results


def _size(encoder: FrozenEncoder) -> dict[str, int]:
    if isinstance(encoder, Encoder):
        config = encoder.config
        return {"width": config.width, "depth": config.depth, "patch_size": config.patch_size}
    return {"depth": encoder.depth}


def _weights(config: Any) -> str:
    """Whose weights a configuration's encoder has, as far as that is known.

    Raises:
      JaxpartError: It calls an encoder released that came with jaxpart or is random.
    """
    word = config.encoder.get("released", False)  # older runs' configurations lack it
    if config.encoder.get("callable", ""):
        return "random" if config.encoder.weights == "random" else "yours"
    if not config.encoder.checkpoint:
        if word:
            raise JaxpartError(
                "config.encoder.released is said of a converted checkpoint; name it in "
                "config.encoder.checkpoint"
            )
        return "came with jaxpart" if config.encoder.small == "trained" else "random"
    document, _ = describe(config.encoder.checkpoint)
    digest = str((document.get("source") or {}).get("sha256") or "")
    known = [first for first in CHECKSUMS.get(config.method, ()) if digest.startswith(first)]
    if known:
        return f"released, SHA-256 {known[0]}…"
    return "released, by your word" if word else "yours"


def results_text(results: Mapping[str, Any]) -> str:
    """The table of one encoder's results, a section per task, and the rules that they were made by."""
    rows = read_rows(results, "results.json")
    sections = [tasks.find(name).section(rows) for name in results["tasks"]]
    rules = [rules_line(name, said) for name, said in results["rules"].items()]
    return "\n".join([results_table(results["encoder"], sections), *rules])

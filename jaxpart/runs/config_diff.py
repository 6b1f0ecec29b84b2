"""Differences of a run's configuration from the paper's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jaxpart.config import object_config, part_config
from jaxpart.runs.config_rules import fields_of
from jaxpart.runs.paper import METHODS
from jaxpart.runs.unlike import relevant


def differences(config: Mapping[str, Any], task: str) -> list[str]:
    """Settings of a task that are not the paper's, as "retrieval.exclude_self = True (paper: False)".

    Args:
      config: A run's whole configuration.
      task: Name of a task.
    """
    method = config.get("method")
    if method not in METHODS or task not in config:
        return []
    theirs = json.loads(
        (
            object_config(method, tuple(METHODS))
            if task == "object_classification"
            else part_config(method, "paper", projector=True)
        ).to_json_best_effort()
    )
    ours = dict(fields_of(config))
    changes = [
        f"{name} = {ours.get(name)} (paper: {value})"
        for name, value in relevant(theirs, task, list(theirs[task].get("settings", ())))
        if name.startswith(f"{task}.") and "incontext" not in name and ours.get(name) != value
    ]
    precision = ours["encoder.precision"]
    if precision != theirs["encoder"]["precision"]:
        changes.append(f"encoder.precision = {precision} (paper: float32)")
    if method == "mae" and task in ("retrieval", "classification"):
        order = ours["encoder.patch_order"]
        rule = "drawn again in every pass" + (", not once per image" if order != "kept" else "")
        changes.append(f"encoder.patch_order = {order} (paper: permuted, {rule})")
    precision = ours["features.precision"]
    if precision != "float32" and task != "segmentation":
        changes.append(f"features.precision = {precision} (paper: float32)")
    return changes

"""Runs that differ in their seed alone, as one: means, with intervals over the runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from jaxpart.errors import shown
from jaxpart.report.runs import Run
from jaxpart.runs.rows import Row, by_key

_NOT_OF_THE_MEASUREMENT = ("seed", "report", "tensorboard")


def averaged(runs: Sequence[Run]) -> list[Run]:
    """A run in place of every two or more of one configuration whose seeds differ.

    Their encoders may be of several pretrainings. Its results are those that all have: means, with the
    95 % interval of Student's t over the runs, cut off at 0 and 1, whatever the runs' own were.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_alike(run), []).append(run)
    found = []
    for members in groups.values():
        seeds = {run.config.get("seed") for run in members}
        if len(members) > 1 and len(seeds) == len(members):
            first = members[0]
            names = ", ".join(run.path.resolve().name for run in members)
            names = shown(names, most=len(names))
            label = f"{first.method}, mean of {len(members)} seeds ({names})"
            found.append(dataclasses.replace(first, label=label, rows=_means(members), steps={}))
    return found


def _alike(run: Run) -> str:
    config: dict[str, Any] = {
        key: value for key, value in run.config.items() if key not in _NOT_OF_THE_MEASUREMENT
    }
    encoder = dict(config.get("encoder") or {})
    encoder.pop("checkpoint", None)
    about: Mapping[str, Any] = {k: v for k, v in run.encoder.items() if k != "digest"}
    return json.dumps([about, config | {"encoder": encoder}], sort_keys=True, default=str)


def _means(runs: Sequence[Run]) -> list[Row]:
    reach = stats.t.ppf(0.975, len(runs) - 1) / np.sqrt(len(runs))
    others = [by_key(run.rows) for run in runs[1:]]
    means = []
    for row in runs[0].rows:
        if not all(row.key in mine for mine in others):
            continue
        each = np.array([row.value, *(mine[row.key].value for mine in others)])
        mean = float(each.mean())
        low = high = None
        if each.min() >= 0 and each.max() <= 1:  # else a count, which has no interval
            half = float(reach * each.std(ddof=1))
            low, high = max(0.0, mean - half), min(1.0, mean + half)
        means.append(dataclasses.replace(row, value=mean, low=low, high=high, sd=None))
    return means

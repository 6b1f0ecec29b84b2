"""Merges runs that differ only in their seed: means, with intervals over the runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from jaxpart.errors import printable
from jaxpart.report.runs import Run
from jaxpart.runs.rows import Row, by_key

_WITHOUT_EFFECT = ("seed", "report", "tensorboard")


def averaged(runs: Sequence[Run]) -> list[Run]:
    """Replaces two or more runs that differ only in their seeds by their mean.

    Their encoders may come from several pretrainings. The merged run has the results that all runs
    have: means, with the 95 % interval of Student's t over the runs, clipped to [0, 1]. A result of one
    encoder that does not depend on the seed keeps its own interval.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_group_key(run), []).append(run)
    means = []
    for members in groups.values():
        seeds = {run.config["seed"] for run in members}
        if len(members) > 1 and len(seeds) == len(members):
            first = members[0]
            names = ", ".join(run.path.resolve().name for run in members)
            names = printable(names, most=len(names))
            label = f"{first.method}, mean of {len(members)} seeds ({names})"
            means.append(dataclasses.replace(first, label=label, rows=_means(members), steps={}))
    return means


def _group_key(run: Run) -> str:
    config: dict[str, Any] = {
        key: value for key, value in run.config.items() if key not in _WITHOUT_EFFECT
    }
    encoder = {key: value for key, value in config["encoder"].items() if key != "checkpoint"}
    description: Mapping[str, Any] = {k: v for k, v in run.encoder.items() if k != "digest"}
    data = {what: value for what, value in run.identity.items() if what != "the encoder"}
    return json.dumps(
        [description, config | {"encoder": encoder}, data], sort_keys=True, default=str
    )


def _means(runs: Sequence[Run]) -> list[Row]:
    factor = stats.t.ppf(0.975, len(runs) - 1) / np.sqrt(len(runs))
    others = [by_key(run.rows) for run in runs[1:]]
    first, *rest = (run.encoder.get("digest") for run in runs)
    one_encoder = bool(first) and set(rest) == {first}
    means = []
    for row in runs[0].rows:
        if not all(row.key in rows_of for rows_of in others):
            continue
        values = np.array([row.value, *(rows_of[row.key].value for rows_of in others)])
        if one_encoder and np.ptp(values) == 0:
            means.append(row)
            continue
        mean = float(values.mean())
        low = high = None
        if values.min() >= 0 and values.max() <= 1:  # otherwise a count, without an interval
            half = float(factor * values.std(ddof=1))
            low, high = max(0.0, mean - half), min(1.0, mean + half)
        means.append(dataclasses.replace(row, value=mean, low=low, high=high, sd=None))
    return means

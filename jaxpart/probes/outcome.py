"""The result of a sweep: its state, and three readings of each probe.

The readings are the best test epoch (the paper's), the last epoch, and the epoch chosen without the test
set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import optax
from flax import nnx
from jaxtyping import Bool, Float64, Int, Shaped

_HELD_OUT = 0.1
"""Share of the training set held out to choose learning rate and epoch."""


class Scores(NamedTuple):
    """Scores on the N test items, on the devices or as NumPy arrays.

    Attributes:
      right: Items classified correctly after each epoch, [epoch, representation, seed, rate]; -1 before.
      best_right: The maximum over epochs.
      best_epoch: The first epoch with that maximum, from 0; -1 before.
      best: Its predictions, [representation, seed, rate, N]; -1 where logits are not finite.
      chosen: Predictions after the epoch chosen by the caller.
      last: Predictions after the last tested epoch, partly overwritten during the next test.
    """

    right: Int[Any, "epoch representation seed rate"]
    best_right: Int[Any, "representation seed rate"]
    best_epoch: Int[Any, "representation seed rate"]
    best: Int[Any, "representation seed rate item"]
    chosen: Int[Any, "representation seed rate item"]
    last: Int[Any, "representation seed rate item"]


class Heads(NamedTuple):
    """All heads of a sweep after some epoch."""

    parameters: nnx.State
    statistics: nnx.State


class Training(NamedTuple):
    """State of a sweep; a pytree. It includes the best heads, so every checkpoint has them.

    Attributes:
      heads: The current heads.
      optimizer: State of the optimiser, mainly momentum.
      scores: See `Scores`.
      best: Each head after its `Scores.best_epoch`; zeros before.
      chosen: Each head after the epoch chosen by the caller; zeros before.
    """

    heads: Heads
    optimizer: optax.OptState
    scores: Scores
    best: Heads
    chosen: Heads


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a sweep for one representation; arrays have a leading axis of seeds.

    Attributes:
      accuracy: Share of test items classified correctly after each epoch, [seed, rate, epoch].
      best: Predictions of the rate and epoch with the highest test accuracy (the paper's reading), [seed,
        item]; the first in case of ties; -1 where the head diverged.
      last: Predictions after the last epoch, at the chosen rate if there is one, else at the first.
      chosen: Predictions at the rate and epoch that were best on the held-out items, or None.
      rate: Index of the chosen rate, [seed]; zeros if none was chosen.
      epoch: The chosen epoch, from 0, [seed]; -1 if none was chosen.
      best_rate: Index of the rate of `best`, [seed].
      best_epoch: The epoch of `best`, from 0, [seed].
      heads: The head behind each of these predictions: its arrays by dotted path, [seed, …].
    """

    accuracy: Float64[np.ndarray, "seed rate epoch"]
    best: Int[np.ndarray, "seed item"]
    last: Int[np.ndarray, "seed item"]
    chosen: Int[np.ndarray, "seed item"] | None
    rate: Int[np.ndarray, " seed"]
    epoch: Int[np.ndarray, " seed"]
    best_rate: Int[np.ndarray, " seed"]
    best_epoch: Int[np.ndarray, " seed"]
    heads: Mapping[str, Mapping[str, np.ndarray]]

    def predictions(self) -> dict[str, Int[np.ndarray, "seed item"]]:
        """Predictions of each available reading, by name."""
        readings = {"best": self.best, "last": self.last, "chosen": self.chosen}
        return {name: reading for name, reading in readings.items() if reading is not None}


def held_out(groups: Shaped[np.ndarray, " item"], seed: int) -> Bool[np.ndarray, " item"]:
    """Holds out about a tenth of the items, in whole groups (images), so that no group is split.

    Returns:
      True for held-out items: at least one group, never all.
    """
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(counts))
    fitting = int((np.cumsum(counts[order]) <= _HELD_OUT * len(group)).sum())
    return np.isin(group, order[: max(1, min(fitting, len(counts) - 1))])


def read(
    trained: Training,
    i: int,
    rate: Int[np.ndarray, " seed"],
    epoch: Int[np.ndarray, " seed"],
) -> Outcome:
    """The outcome for one representation.

    `rate` and `epoch` are those chosen for each seed; zeros and -1 if none was chosen.
    """
    scores = trained.scores
    best_rate = scores.best_right[i].argmax(axis=-1)
    has_choice = bool((epoch >= 0).all())
    heads_at = {"best": (trained.best, best_rate), "last": (trained.heads, rate)}
    if has_choice:
        heads_at["chosen"] = trained.chosen, rate
    return Outcome(
        accuracy=np.moveaxis(scores.right[:, i], 0, -1) / scores.last.shape[-1],
        best=at_rate(scores.best[i], best_rate),
        last=at_rate(scores.last[i], rate),
        chosen=at_rate(scores.chosen[i], rate) if has_choice else None,
        rate=rate,
        epoch=epoch,
        best_rate=best_rate,
        best_epoch=at_rate(scores.best_epoch[i], best_rate),
        heads={
            name: {
                ".".join(map(str, path)): at_rate(leaf[...][i], rates)
                for state in heads
                for path, leaf in nnx.to_flat_state(state)
            }
            for name, (heads, rates) in heads_at.items()
        },
    )


def at_rate(array: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Selects a rate for each leading index: `[*lead, rate, …]` → `[*lead, …]`."""
    index = rate.reshape(*rate.shape, *[1] * (array.ndim - rate.ndim))
    return np.take_along_axis(array, index, axis=rate.ndim).squeeze(rate.ndim)

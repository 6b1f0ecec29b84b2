"""What a sweep comes to: its state, and one probe read in three ways.

The readings are the best test epoch (the paper's), the last epoch, and the one chosen without the test
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
"""Share of the training set on which learning rate and epoch are chosen."""


class Scores(NamedTuple):
    """What was seen on the N test items, on the devices or as NumPy arrays.

    Attributes:
      right: Items classified right after each epoch, [epoch, representation, seed, rate]; -1 before.
      best_right: The most over epochs.
      best_epoch: The first epoch that had it, from 0; -1 before.
      best: Its predictions, [representation, seed, rate, N]; -1 where logits are not finite.
      chosen: Predictions after the epoch that the caller chose.
      last: Predictions after the last epoch tested, or half way through testing the next.
    """

    right: Int[Any, "epoch representation seed rate"]
    best_right: Int[Any, "representation seed rate"]
    best_epoch: Int[Any, "representation seed rate"]
    best: Int[Any, "representation seed rate item"]
    chosen: Int[Any, "representation seed rate item"]
    last: Int[Any, "representation seed rate item"]


class Heads(NamedTuple):
    """All heads of a sweep, as they were after some epoch.

    Attributes:
      parameters: What is trained.
      statistics: Running statistics of BatchNorm.
    """

    parameters: nnx.State
    statistics: nnx.State


class Training(NamedTuple):
    """State of a sweep; a pytree. What was best is part of it, so that any checkpoint holds both.

    Attributes:
      heads: As they are.
      optimizer: State of the optimiser, momentum above all.
      scores: See `Scores`.
      best: Each head as it was after its `Scores.best_epoch`; zeros before.
      chosen: Each head after the epoch that the caller chose; zeros before.
    """

    heads: Heads
    optimizer: optax.OptState
    scores: Scores
    best: Heads
    chosen: Heads


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a sweep came to, for one representation; arrays lead with the seed.

    Attributes:
      accuracy: Share of test items classified right after each epoch, [seed, rate, epoch].
      best: Predictions of the rate and epoch with the highest test accuracy (the paper's reading), [seed,
        item]; the first of those that share it; -1 where the head had diverged.
      last: Predictions after the last epoch, at the chosen rate where one was chosen, else at the first.
      chosen: Predictions at the rate and epoch that did best on the held-out items, or None.
      rate: Index of the chosen rate, [seed]; zeros where none was chosen.
      epoch: The chosen epoch, from 0, [seed]; -1 where none was chosen.
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
        """Of each reading that there is, by its name."""
        readings = {"best": self.best, "last": self.last, "chosen": self.chosen}
        return {name: found for name, found in readings.items() if found is not None}


def held_out(groups: Shaped[np.ndarray, " item"], seed: int) -> Bool[np.ndarray, " item"]:
    """A tenth of the items, or a little less: whole groups (images), so that none is on both sides.

    Args:
      groups: The image of each item.
      seed: Decides which.

    Returns:
      True for the items held out: at least one group, and never all.
    """
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(counts))
    fit = int((np.cumsum(counts[order]) <= _HELD_OUT * len(group)).sum())
    return np.isin(group, order[: max(1, min(fit, len(counts) - 1))])


def read(
    trained: Training,
    i: int,
    rate: Int[np.ndarray, " seed"],
    epoch: Int[np.ndarray, " seed"],
) -> Outcome:
    """The outcome for one representation.

    Args:
      trained: After the last epoch, as NumPy arrays.
      i: The representation's number.
      rate: Index of the rate chosen for each seed; zeros where none was chosen.
      epoch: The epoch chosen for each seed, which the sweep was told; -1 where none was chosen.
    """
    scores = trained.scores
    best_rate = scores.best_right[i].argmax(axis=-1)
    chose = bool((epoch >= 0).all())
    kept = {"best": (trained.best, best_rate), "last": (trained.heads, rate)}
    if chose:
        kept["chosen"] = trained.chosen, rate
    return Outcome(
        accuracy=np.moveaxis(scores.right[:, i], 0, -1) / scores.last.shape[-1],
        best=at_rate(scores.best[i], best_rate),
        last=at_rate(scores.last[i], rate),
        chosen=at_rate(scores.chosen[i], rate) if chose else None,
        rate=rate,
        epoch=epoch,
        best_rate=best_rate,
        best_epoch=at_rate(scores.best_epoch[i], best_rate),
        heads={
            name: {
                ".".join(map(str, path)): at_rate(leaf[...][i], which)
                for state in heads
                for path, leaf in nnx.to_flat_state(state)
            }
            for name, (heads, which) in kept.items()
        },
    )


def at_rate(array: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """The entries of an array `[*lead, rate, …]` at a rate for each lead, `[*lead, …]`."""
    index = rate.reshape(*rate.shape, *[1] * (array.ndim - rate.ndim))
    return np.take_along_axis(array, index, axis=rate.ndim).squeeze(rate.ndim)

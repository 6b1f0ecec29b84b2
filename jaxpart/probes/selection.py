"""One probe read in three ways: best test epoch, last epoch, and chosen without the test set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from flax import nnx
from jaxtyping import Bool, Float64, Int, Shaped

from jaxpart.io.checkpoints import Checkpointer
from jaxpart.probes.items import Items
from jaxpart.probes.probing import train_heads
from jaxpart.probes.recipe import Recipe
from jaxpart.probes.sweep import MakeHead, Training

_HELD_OUT = 0.1
"""Share of the training set on which learning rate and epoch are chosen."""


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


class TrainStage(Protocol):
    """Trains and tests all heads of a sweep once."""

    def __call__(
        self,
        held: Bool[np.ndarray, " item"] | None,
        chosen_epoch: Int[np.ndarray, "representation seed rate"] | None,
    ) -> Training:
        """Trains without the training items that are held out, and tests on these alone; or, with
        None, trains on all and tests on the test items. Returns NumPy arrays."""
        ...


def probe(
    train: TrainStage,
    heads: tuple[int, int, int],
    groups: Shaped[np.ndarray, " item"] | None,
    seed: int,
) -> list[Outcome]:
    """Trains, chooses and tests.

    To choose, all heads are trained once without the held-out tenth, and each seed takes the rate and
    epoch that were best there. The heads trained on the WHOLE training set are then looked at at that
    rate and epoch: chosen hyperparameters, retrained, tested once.

    Args:
      train: Trains and tests.
      heads: Number of representations, seeds and rates.
      groups: The image of each training item; None not to choose.
      seed: Decides which images are held out.

    Returns:
      An outcome per representation.

    Raises:
      JaxpartError: All heads have diverged.
    """
    rate, epoch = np.zeros(heads[:2], np.int64), np.full(heads[:2], -1)
    chosen_epoch = np.full(heads, -1, np.int32)
    if groups is not None and len(np.unique(groups)) > 1:
        scores = train(held_out(groups, seed), None).scores
        rate = scores.best_right.argmax(axis=-1)
        epoch = _at(scores.best_epoch, rate)
        np.put_along_axis(chosen_epoch, rate[..., None], epoch[..., None], axis=-1)
    trained = train(None, chosen_epoch)
    return [_outcome(trained, i, rate[i], epoch[i]) for i in range(heads[0])]


def probe_features(
    make_head: MakeHead,
    train: Items,
    test: Items,
    recipe: Recipe,
    seeds: Sequence[int],
    *,
    groups: Shaped[np.ndarray, " item"] | None,
    checkpointer: Callable[[str], Checkpointer | None] = lambda stage: None,
    log: Callable[[str, int], None] = lambda stage, epoch: None,
) -> list[Outcome]:
    """`probe` on cached features.

    Args:
      make_head: Draws a head.
      train: Training items; one or more representations of one shape.
      test: Test items.
      recipe: How heads are trained.
      seeds: Seeds; the first also draws the held-out items.
      groups: The image of each training item; None not to choose.
      checkpointer: Makes the place-keeper of a stage, "choosing" or "final".
      log: Called with the stage and the epoch after each piece of work.
    """

    def stage(
        held: Bool[np.ndarray, " item"] | None,
        chosen_epoch: Int[np.ndarray, "representation seed rate"] | None,
    ) -> Training:
        name = "final" if held is None else "choosing"
        tested, rows = test, None
        if held is not None:
            tested, rows = train.subset(np.flatnonzero(held)), np.flatnonzero(~held)
        return train_heads(
            make_head,
            train,
            tested,
            recipe,
            seeds,
            rows=rows,
            chosen_epoch=chosen_epoch,
            checkpointer=checkpointer(name),
            log=lambda epoch, metrics: log(name, epoch),
        )

    heads = len(train.features), len(seeds), len(recipe.rates)
    return probe(stage, heads, groups, seeds[0])


def _outcome(
    trained: Training,
    i: int,
    rate: Int[np.ndarray, " seed"],
    epoch: Int[np.ndarray, " seed"],
) -> Outcome:
    scores = trained.scores
    best_rate = scores.best_right[i].argmax(axis=-1)
    chose = bool((epoch >= 0).all())
    rates = {"best": best_rate, "last": rate} | ({"chosen": rate} if chose else {})
    return Outcome(
        accuracy=np.moveaxis(scores.right[:, i], 0, -1) / scores.last.shape[-1],
        best=_at(scores.best[i], best_rate),
        last=_at(scores.last[i], rate),
        chosen=_at(scores.chosen[i], rate) if chose else None,
        rate=rate,
        epoch=epoch,
        best_rate=best_rate,
        best_epoch=_at(scores.best_epoch[i], best_rate),
        heads={
            name: {
                ".".join(map(str, path)): _at(leaf[...][i], rates[name])
                for state in heads
                for path, leaf in nnx.to_flat_state(state)
            }
            for name, heads in trained.readings().items()
            if name in rates
        },
    )


def _at(array: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """The entries of an array [*lead, rate, …] at a rate for each lead, [*lead, …]."""
    index = rate.reshape(*rate.shape, *[1] * (array.ndim - rate.ndim))
    return np.take_along_axis(array, index, axis=rate.ndim).squeeze(rate.ndim)

"""The training of heads: epoch after epoch, some pieces of training and then some of testing.

Where training items come from is one thing (`Steps`: cached features here, random views with the encoder
in `jaxpart.probes.random_views`); what happens with them is another, and the same for all (`run`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jaxtyping import Int, Shaped

from jaxpart import devices, training
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.probes.items import PIECE_BYTES, Items, Tests, free_memory
from jaxpart.probes.recipe import Recipe
from jaxpart.probes.sweep import MakeHead, Sweep, Training

Work = Callable[[Training], tuple[Training, dict[str, jax.Array]]]
"""A compiled program with its arrays on the devices; takes the state's buffers over."""

Log = Callable[[int, dict[str, np.ndarray]], None]
"""Called after every piece with its epoch and measurements: of a training piece the "losses" of its
steps, [step, representation, seed, rate]."""

Order = Callable[[int, int, int], Int[np.ndarray, " item"]]
"""The order of so many items in an epoch: (seed, epoch, count) → a permutation."""


class Steps(Protocol):
    """The training of an epoch, in pieces.

    Attributes:
      pieces: How many pieces an epoch has.
    """

    pieces: int

    def __call__(self, epoch: int, piece: int) -> tuple[Callable[[], Work], tuple[str, ...]]:
        """A piece, which come in order: what brings it to the devices, and names for messages."""
        ...

    def get_state(self) -> dict[str, Any]:
        """The place after the pieces given out, beside their number."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a place."""
        ...


class _Piece(NamedTuple):
    arrays: Callable[[], Work]
    ids: tuple[str, ...]


class _Pieces:
    """All pieces of a run: an epoch's training, then its test."""

    def __init__(self, steps: Steps, tests: Tests) -> None:
        self._steps, self._tests, self._number = steps, tests, 0
        self.per_epoch = steps.pieces + len(tests.pieces)

    def __next__(self) -> _Piece:
        epoch, place = divmod(self._number, self.per_epoch)
        self._number += 1
        if place < self._steps.pieces:
            return _Piece(*self._steps(epoch, place))
        start, stop = self._tests.pieces[place - self._steps.pieces]
        work = functools.partial(self._tests.run, epoch=epoch, start=start, stop=stop)
        return _Piece(lambda: work, ())

    def get_state(self) -> dict[str, Any]:
        return {"number": self._number, "steps": self._steps.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        self._number = state["number"]
        self._steps.set_state(state["steps"])


def run(
    state: Training,
    steps: Steps,
    tests: Tests,
    epochs: int,
    *,
    checkpointer: Checkpointer | None,
    log: Log,
) -> Training:
    """Trains and tests a sweep from its start, or from where it was left.

    Returns:
      The state after the last epoch, as NumPy arrays.

    Raises:
      JaxpartError: The loss of all heads is not finite.
    """
    pieces = _Pieces(steps, tests)
    total = epochs * pieces.per_epoch
    state = training.fit(
        lambda state, work: work(state),
        devices.replicate(state),
        pieces,
        steps=total,
        put=lambda bring: bring(),
        checkpointer=checkpointer,
        log=lambda number, metrics: log(number // pieces.per_epoch, metrics),
    )
    if checkpointer is not None and checkpointer.is_due():  # too long to be done again
        checkpointer.save(total, state, pieces.get_state())
        checkpointer.wait()
    return devices.fetch(state)


def shuffled(seed: int, epoch: int, count: int) -> Int[np.ndarray, " item"]:
    """An order that a seed draws anew for every epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)


class _CachedSteps:
    """Steps on features that are there: on the devices, or brought there piece by piece."""

    def __init__(
        self,
        sweep: Sweep,
        train: Items,
        rows: Int[np.ndarray, " item"],
        recipe: Recipe,
        seeds: Sequence[int],
        order: Order,
        *,
        stays: bool,
    ) -> None:
        self._sweep, self._train, self._rows, self._recipe = sweep, train, rows, recipe
        self._seeds, self._order = seeds, order
        self._resident = train.resident if stays else None
        self._batch = min(recipe.batch_size, len(rows))
        self._count = recipe.steps(len(rows))
        full = np.arange(self._count * self._batch) < len(rows)
        self._valid = None if full.all() else full.reshape(self._count, self._batch)
        size = train.nbytes // len(train) * self._batch * len(seeds)
        self._at_once = self._count if stays else max(1, PIECE_BYTES // size)
        self.pieces = -(-self._count // self._at_once)
        self._epoch_rows = functools.lru_cache(maxsize=1)(self._draw)

    def _draw(self, epoch: int) -> Int[np.ndarray, "step seed batch"]:
        count = self._count * self._batch  # of the last batch, items from the beginning fill up
        orders = [
            np.resize(self._order(seed, epoch, len(self._rows)), count) for seed in self._seeds
        ]
        rows = self._rows[np.stack(orders)].reshape(len(self._seeds), -1, self._batch)
        return rows.swapaxes(0, 1)

    def __call__(self, epoch: int, piece: int) -> tuple[Callable[[], Work], tuple[str, ...]]:
        start = piece * self._at_once
        steps = range(start, min(start + self._at_once, self._count))
        return functools.partial(self._bring, epoch, steps), (f"those of epoch {epoch}",)

    def _bring(self, epoch: int, steps: range) -> Work:
        rates = devices.replicate(self._recipe.rates_at(epoch, steps, self._count))
        valid: Any = None
        if self._valid is not None:
            valid = self._place(self._share(self._valid[steps.start : steps.stop]), axis=1)
        mine = self._share(self._epoch_rows(epoch)[steps.start : steps.stop])
        batches: Any
        if self._resident is not None:
            batches = self._place(mine, axis=2)
        else:
            features = np.moveaxis(self._train.take(mine), 0, 1)
            labels = self._train.labels[mine]
            batches = self._place(features, axis=3), self._place(labels, axis=2)
        return lambda state: self._sweep.train(state, self._resident, batches, rates, valid)

    def _share(self, rows: Shaped[np.ndarray, "... batch"]) -> np.ndarray:
        """This process's part of each batch."""
        if self._batch % jax.device_count():
            return rows
        size = self._batch // jax.process_count()
        return rows[..., jax.process_index() * size :][..., :size]

    def _place(self, array: np.ndarray, *, axis: int) -> jax.Array:
        """Batches on the devices: cut where these divide them, else whole on each."""
        if self._batch % jax.device_count():
            return devices.replicate(array)
        return devices.shard(array, axis=axis)

    def get_state(self) -> dict[str, Any]:
        return {}  # orders follow from the epoch

    def set_state(self, state: dict[str, Any]) -> None:
        del state


def train_heads(
    make_head: MakeHead,
    train: Items,
    test: Items,
    recipe: Recipe,
    seeds: Sequence[int],
    *,
    rows: Int[np.ndarray, " item"] | None = None,
    chosen_epoch: Int[np.ndarray, "representation seed rate"] | None = None,
    order: Order = shuffled,
    checkpointer: Checkpointer | None = None,
    memory: int | None = None,
    log: Log = lambda epoch, metrics: None,
) -> Training:
    """Trains a head for every representation, seed and rate on cached features; tests every epoch.

    Args:
      make_head: Draws a head.
      train: Training items.
      test: Test items.
      recipe: How.
      seeds: A seed draws the head and the order of the items.
      rows: The training items to use; all by default.
      chosen_epoch: The epoch of each head whose predictions go to `Scores.chosen`; by default none.
      order: The order of the items.
      checkpointer: Where the place is kept.
      memory: Bytes of features that may stay on the devices; what does not fit is streamed. By
        default a part of what there is.
      log: See `Log`.

    Returns:
      The state after the last epoch, as NumPy arrays.

    Raises:
      JaxpartError: The loss of all heads is not finite.
    """
    rows = np.arange(len(train)) if rows is None else rows
    left = free_memory() if memory is None else memory
    stays = train.nbytes <= left
    sweep = Sweep(make_head, recipe.transform(), bn_test=recipe.bn_test)
    heads = len(train.features), len(seeds), len(recipe.rates)
    steps = _CachedSteps(sweep, train, rows, recipe, seeds, order, stays=stays)
    tests = Tests(sweep, test, chosen_epoch, heads, left - train.nbytes * stays)
    start = sweep.start(
        representations=heads[0], seeds=seeds, rates=heads[2], epochs=recipe.epochs, items=len(test)
    )
    return run(start, steps, tests, recipe.epochs, checkpointer=checkpointer, log=log)

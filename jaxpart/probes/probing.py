"""Probing frozen features: what is trained on what, in which order, at which rate, and what is kept.

The published protocol (PROTOCOL.md, "Part classification") with three readings of its result: the best
epoch on the test set (as the paper reports), the last epoch, and the epoch and learning rate that did
best on a held-out tenth of the training set.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import optax
from jaxtyping import Float32, Int

from jaxpart import devices, training
from jaxpart.checkpoints import Checkpointer
from jaxpart.probes.sweep import MakeHead, Scores, Sweep, Training

_CHUNK_BYTES = 256 << 20
"""Features sent to the devices at once where not all of them fit."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How heads are trained.

    The last incomplete batch of an epoch is dropped, as the published loaders do (MAE's and CAE's
    probing code has `drop_last=True`). A training set smaller than a batch, on which they would train
    nothing, is one batch of its own size.

    Attributes:
      rates: Base learning rates; one head is trained for each. The rate at the start is base × batch /
        256 with the batch that is really used, and falls with a cosine from epoch to epoch.
      epochs: Passes over the training set.
      batch_size: Items per step.
      momentum: Of SGD, as PyTorch has it.
      weight_decay: Added to the gradient, as PyTorch's SGD does.
      warmup: Epochs of linear warm-up from 0, before the cosine.
      lars: Whether the step of every matrix is scaled by LARS (MAE's and MoCo v3's linear probe).
      bn_test: BatchNorm's statistics while testing, "running" or "batch" (batches of 256, as in the
        published code).
    """

    rates: tuple[float, ...]
    epochs: int = 90
    batch_size: int = 1024
    momentum: float = 0.9
    weight_decay: float = 0.0
    warmup: int = 0
    lars: bool = False
    bn_test: str = "running"

    def transform(self) -> optax.GradientTransformation:
        """The optimiser without its learning rate."""
        parts = [optax.trace(self.momentum)]
        if self.lars:
            matrices = functools.partial(jax.tree.map, lambda p: p.ndim > 1)
            trust = optax.scale_by_trust_ratio(trust_coefficient=0.001)
            parts.insert(0, optax.masked(trust, matrices))
            parts.insert(0, optax.add_decayed_weights(self.weight_decay, matrices))
        elif self.weight_decay:
            parts.insert(0, optax.add_decayed_weights(self.weight_decay))
        return optax.chain(*parts)

    def rates_at(self, epoch: int, batch: int) -> Float32[np.ndarray, " rate"]:
        """The learning rates of an epoch, counted from 0, at a batch size."""
        peaks = np.array(self.rates) * batch / 256
        if epoch < self.warmup:
            return (peaks * epoch / self.warmup).astype(np.float32)
        share = (epoch - self.warmup) / (self.epochs - self.warmup)
        return (peaks * 0.5 * (1 + math.cos(math.pi * share))).astype(np.float32)


class Rows(Protocol):
    """A feature of each item: a NumPy array, or `features.Features` on disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[item, …]."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or bfloat16."""
        ...

    def take(self, indices: Any, axis: int) -> np.ndarray:
        """Those of some items, as `numpy.take` along axis 0."""
        ...


class Items:
    """Labelled items with one or more features of one shape; on the devices once they were asked for.

    Attributes:
      features: One per representation.
      labels: Classes, from 0.
    """

    def __init__(self, features: Sequence[Rows], labels: Int[np.ndarray, " item"]) -> None:
        """Copies nothing."""
        self.features, self.labels = tuple(features), labels.astype(np.int32)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        """Size of all features."""
        return sum(math.prod(rows.shape) * rows.dtype.itemsize for rows in self.features)

    def take(self, indices: Int[np.ndarray, "*rows"]) -> np.ndarray:
        """Features of some items, [*rows, …] with the representation before the batch's axes."""
        found = [rows.take(indices, axis=0) for rows in self.features]
        return found[0][None] if len(found) == 1 else np.stack(found)

    @functools.cached_property
    def resident(self) -> tuple[jax.Array, jax.Array]:
        """All features [representation, item, …] and labels, whole on every device."""
        return devices.replicate((self.take(np.arange(len(self))), self.labels))


Order = Callable[[int, int, int], Int[np.ndarray, " item"]]
"""The order of so many items in an epoch: (seed, epoch, count) → a permutation."""


def shuffled(seed: int, epoch: int, count: int) -> Int[np.ndarray, " item"]:
    """An order that a seed draws anew for every epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)


class Work(NamedTuple):
    """What one call of a compiled program does, on the host.

    Attributes:
      epoch: Number of the epoch.
      steps: Training items of each step, [step, seed, batch], or None for a test.
      start: First test item.
      stop: The one after the last test item.
    """

    epoch: int
    steps: Int[np.ndarray, "step seed batch"] | None
    start: int = 0
    stop: int = 0


class _Batch(NamedTuple):
    arrays: Work
    ids: tuple[str, ...]


class _Schedule:
    """Epoch after epoch: the steps in a few pieces, then the test items in a few."""

    def __init__(
        self,
        rows: Int[np.ndarray, " item"],
        batch: int,
        seeds: Sequence[int],
        order: Order,
        *,
        steps_at_once: int,
        tests: Sequence[tuple[int, int]],
    ) -> None:
        self._rows, self._batch, self._seeds, self._order = rows, batch, seeds, order
        steps = len(rows) // batch
        self._pieces = [
            (start, min(start + steps_at_once, steps)) for start in range(0, steps, steps_at_once)
        ]
        self._tests = tests
        self._number = 0
        self._epoch_steps = functools.lru_cache(maxsize=1)(self._steps)

    @property
    def per_epoch(self) -> int:
        return len(self._pieces) + len(self._tests)

    def _steps(self, epoch: int) -> Int[np.ndarray, "step seed batch"]:
        count = len(self._rows) // self._batch * self._batch
        orders = [self._order(seed, epoch, len(self._rows))[:count] for seed in self._seeds]
        rows = self._rows[np.stack(orders)].reshape(len(self._seeds), -1, self._batch)
        return rows.swapaxes(0, 1)

    def __next__(self) -> _Batch:
        epoch, place = divmod(self._number, self.per_epoch)
        self._number += 1
        if place < len(self._pieces):
            work = Work(epoch, self._epoch_steps(epoch)[slice(*self._pieces[place])])
        else:
            work = Work(epoch, None, *self._tests[place - len(self._pieces)])
        return _Batch(work, (f"those of epoch {epoch}",))

    def get_state(self) -> dict[str, Any]:
        return {"number": self._number}

    def set_state(self, state: dict[str, Any]) -> None:
        self._number = state["number"]


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
    log: Callable[[int, dict[str, np.ndarray]], None] = lambda epoch, metrics: None,
) -> tuple[Training, Scores]:
    """Trains a head for every representation, seed and learning rate, and tests them every epoch.

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
      log: Called after every piece of work with its epoch and measurements: "losses" of its steps,
        [step, representation, seed, rate], if it was training.

    Returns:
      The state after the last epoch, on the devices, and its scores as NumPy arrays.

    Raises:
      JaxpartError: All heads have diverged.
    """
    rows = np.arange(len(train)) if rows is None else rows
    batch = min(recipe.batch_size, len(rows))
    heads = len(train.features), len(seeds), len(recipe.rates)
    left = _memory() if memory is None else memory
    train_stays = train.nbytes <= left
    test_stays = test.nbytes <= left - train.nbytes * train_stays
    step_bytes = train.nbytes // len(train) * batch * len(seeds)
    # Pieces of the test are whole batches, and whole test batches of the published code.
    test_at_once = max(1, _CHUNK_BYTES // (test.nbytes // len(test) * 256)) * 256
    if test_stays:
        test_at_once = len(test)
    schedule = _Schedule(
        rows,
        batch,
        seeds,
        order,
        steps_at_once=len(rows) if train_stays else max(1, _CHUNK_BYTES // step_bytes),
        tests=[
            (start, min(start + test_at_once, len(test)))
            for start in range(0, len(test), test_at_once)
        ],
    )
    sweep = Sweep(make_head, recipe.transform(), bn_test=recipe.bn_test)
    state = devices.replicate(
        sweep.start(
            representations=heads[0],
            seeds=list(seeds),
            rates=heads[2],
            epochs=recipe.epochs,
            items=len(test),
        )
    )
    never = np.full(heads, -1, np.int32)
    chosen = devices.replicate(never if chosen_epoch is None else np.int32(chosen_epoch))
    test_labels = devices.replicate(test.labels)
    resident = train.resident if train_stays else None

    def put(work: Work) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if work.steps is None:
            some = np.arange(work.start, work.stop)
            features = test.resident[0] if test_stays else devices.replicate(test.take(some))
            place = devices.replicate((np.int32(work.epoch), np.int32(work.start)))
            return sweep.test, (features, test_labels, *place, chosen)
        rates = devices.replicate(recipe.rates_at(work.epoch, batch))
        mine = _share(work.steps)
        if train_stays:
            return sweep.train, (resident, _place(mine, batch, axis=2), rates)
        features = np.moveaxis(train.take(mine), 0, 1)
        labels = _place(train.labels[mine], batch, axis=2)
        return sweep.train, (None, (_place(features, batch, axis=3), labels), rates)

    def step(state: Training, call: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
        program, arguments = call
        return program(state, *arguments)

    steps = recipe.epochs * schedule.per_epoch
    state = training.fit(
        step,
        state,
        schedule,
        steps=steps,
        put=put,
        checkpointer=checkpointer,
        log=lambda number, metrics: log(number // schedule.per_epoch, metrics),
    )
    if checkpointer is not None and checkpointer.is_due():  # too long to be done again
        checkpointer.save(steps, state, schedule.get_state())
        checkpointer.wait()
    return state, devices.fetch(state.scores)


def _share(steps: Int[np.ndarray, "step seed batch"]) -> Int[np.ndarray, "step seed batch"]:
    """This process's part of each batch."""
    batch = steps.shape[-1]
    if batch % jax.device_count():
        return steps
    size = batch // jax.process_count()
    return steps[..., jax.process_index() * size :][..., :size]


def _place(array: np.ndarray, batch: int, *, axis: int) -> jax.Array:
    """A share of batches on the devices: cut where they divide it, else whole on each."""
    if batch % jax.device_count():
        return devices.replicate(array)
    return devices.shard(array, axis=axis)


def _memory() -> int:
    """Bytes of features that may stay on each device."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    return (device.memory_stats() or {}).get("bytes_limit", 8 << 30) // 2

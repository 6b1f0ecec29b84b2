"""Labelled features in batches: resident on the devices if they fit, else streamed."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxpart import devices
from jaxpart.cpu.memory import memory_limit
from jaxpart.errors import JaxpartError
from jaxpart.features.cache import size_text
from jaxpart.features.extract import Features
from jaxpart.probes.recipe import Recipe

TEST_BATCH = 256
"""Items per test batch, as in the published code; affects BatchNorm's batch statistics."""

PIECE_BYTES = 256 << 20
"""Bytes of features sent to the devices at once when streaming; a step that takes more is sent alone."""

_HELD = 3
"""Steps a CPU host holds while streaming: the current one, the next, and the buffer it is sent from."""


class TrainPiece(NamedTuple):
    """The training steps of one call, on the devices.

    Attributes:
      batches: Inputs of the source's `gather`, with a leading axis of steps.
      rates: The learning rates of each step.
      valid: False for padding; None: no padding.
    """

    batches: Any
    rates: Float[Array, "step rate"]
    valid: Bool[Array, "step batch"] | None


class EvalPiece(NamedTuple):
    """The test items of one call, on the devices."""

    features: Shaped[Array, "representation item ..."]
    epoch: Int[Array, ""]
    start: Int[Array, ""]


class Items:
    """Labelled items with one or more features of the same shape; moved to the devices on first use.

    Attributes:
      features: One per representation: `Features`, possibly on disk, or arrays [row, …].
      labels: Classes, from 0.
    """

    def __init__(
        self,
        features: Sequence[Features | np.ndarray],
        labels: Int[np.ndarray, " item"],
        rows: Int[np.ndarray, " item"] | None = None,
    ) -> None:
        """Copies nothing.

        `rows` are the items' rows in the features, which may have others too; by default all rows, in
        order.
        """
        self.features, self.labels = tuple(features), labels.astype(np.int32)
        self._rows = np.arange(len(labels)) if rows is None else rows

    def __len__(self) -> int:
        """Number of items."""
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        """Size of all features in bytes."""
        sizes = (math.prod(rows.shape[1:]) * rows.dtype.itemsize for rows in self.features)
        return len(self) * sum(sizes)

    def take(self, items: Int[np.ndarray, "*batch"]) -> Shaped[np.ndarray, "representation ..."]:
        """Features of some items, `[representation, *batch, …]`; only these are read."""
        features = [rows[self._rows[items]] for rows in self.features]
        return features[0][None] if len(features) == 1 else np.stack(features)

    def subset(self, items: Int[np.ndarray, " item"]) -> Items:
        """A subset; features are not copied."""
        return Items(self.features, self.labels[items], self._rows[items])

    @functools.cached_property
    def replicated(self) -> tuple[jax.Array, jax.Array]:
        """All features [representation, item, …] and labels, replicated."""
        return devices.replicate((self.take(np.arange(len(self))), self.labels))

    @functools.cached_property
    def sharded(self) -> tuple[jax.Array, jax.Array]:
        """All features [representation, item, …], sharded by item, and replicated labels."""
        rows = self.features[0]
        shape = len(self.features), len(self), *rows.shape[1:]
        items = np.arange(len(self))
        features = devices.shard_rows(shape, rows.dtype, lambda part: self.take(items[part]))
        return features, devices.replicate(self.labels)

    def batches(
        self, items: Int[np.ndarray, " item"], recipe: Recipe, seeds: Sequence[int], memory: int
    ) -> FeatureBatches:
        """Batches of some items, in an order drawn per seed and epoch.

        `memory` is the number of bytes of features that may stay on the devices.
        """
        resident = self.nbytes <= memory * devices.mesh().shape["data"]
        return FeatureBatches(self, items, recipe, seeds, resident=resident)


class Batches:
    """A source of training batches, in pieces.

    Attributes:
      pieces: Pieces per epoch.
      arrays: Resident arrays: features, or the encoder.
      nbytes: Bytes of resident features.
      gather: (arrays, a step of `TrainPiece.batches`) → features [representation, seed, batch, …] and
        labels [seed, batch]; the axis of seeds may be 1, where all see the same.
    """

    pieces: int
    arrays: Any = None
    nbytes = 0
    gather: Callable[[Any, Any], tuple[Array, Array]]

    @property
    def due(self) -> int:
        """Where the next piece ends in the stream of items, if that is shared with other sweeps."""
        return 0

    def piece(self, epoch: int, number: int) -> tuple[TrainPiece, tuple[str, ...]]:
        """A piece of an epoch, requested in order, and names of its items for messages."""
        raise NotImplementedError

    def get_state(self) -> dict[str, Any]:
        """The position after the pieces returned, if their index does not determine it."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a position."""

    def close(self) -> None:
        """Releases its resources."""


class FeatureBatches(Batches):
    """Batches of cached features: one piece per epoch if they are resident."""

    def __init__(
        self,
        items: Items,
        chosen: Int[np.ndarray, " item"],
        recipe: Recipe,
        seeds: Sequence[int],
        *,
        resident: bool,
    ) -> None:
        """See `Items.batches`."""
        self._items, self._chosen, self._recipe, self._seeds = items, chosen, recipe, seeds
        if resident:
            self.arrays = items.sharded
            self.nbytes = items.nbytes // devices.mesh().shape["data"]
        self._batch = min(recipe.batch_size, len(chosen))
        even = self._batch % devices.count() == 0
        self.gather = (_gather_evenly if even else _gather) if resident else _streamed
        self._count = recipe.steps(len(chosen))
        full = np.arange(self._count * self._batch) < len(chosen)
        self._valid = None if full.all() else full.reshape(self._count, self._batch)
        step_bytes = items.nbytes // len(items) * self._batch * len(seeds)
        self._at_once = self._count if resident else max(1, PIECE_BYTES // step_bytes)
        needed = _HELD * step_bytes // devices.num_processes()
        if not resident and needed > (memory := memory_limit()):
            raise JaxpartError(
                f"steps of {self._batch} items take {size_text(step_bytes)} of features each, and "
                f"{_HELD} of them do not fit into the {size_text(memory)} of memory; lower the batch_size, "
                "or pass --config.features.precision=bfloat16"
            )
        self.pieces = -(-self._count // self._at_once)
        self._items_of = functools.lru_cache(maxsize=1)(self._draw)

    def piece(self, epoch: int, number: int) -> tuple[TrainPiece, tuple[str, ...]]:
        """Some steps of an epoch, and a name of their items for messages."""
        start = number * self._at_once
        steps = range(start, min(start + self._at_once, self._count))
        items = self._share(self._items_of(epoch)[steps.start : steps.stop])
        batches: Any
        if self.arrays is not None:
            batches = self._put(items, axis=2)
        else:
            features = np.moveaxis(self._items.take(items), 0, 1)
            batches = self._put(features, axis=3), self._put(self._items.labels[items], axis=2)
        valid = None
        if self._valid is not None:
            valid = self._put(self._share(self._valid[steps.start : steps.stop]), axis=1)
        rates = devices.replicate(self._recipe.rates_at(epoch, steps, self._count))
        return TrainPiece(batches, rates, valid), (f"those of epoch {epoch}",)

    def _draw(self, epoch: int) -> Int[np.ndarray, "step seed batch"]:
        count = self._count * self._batch  # the last batch is padded with the first items
        orders = [
            np.resize(shuffled(seed, epoch, len(self._chosen)), count) for seed in self._seeds
        ]
        items = self._chosen[np.stack(orders)].reshape(len(self._seeds), -1, self._batch)
        return items.swapaxes(0, 1)

    def _share(self, batches: Shaped[np.ndarray, "... batch"]) -> np.ndarray:
        """This process's part of each batch."""
        if self._batch % devices.count():
            return batches
        size = self._batch // devices.num_processes()
        return batches[..., devices.process_index() * size :][..., :size]

    def _put(self, array: np.ndarray, *, axis: int) -> jax.Array:
        """Batches on the devices: sharded if divisible, else replicated."""
        if self._batch % devices.count():
            return devices.replicate(array)
        return devices.shard(array, axis=axis)


def _streamed(arrays: None, batch: tuple[Array, Array]) -> tuple[Array, Array]:
    return batch


def _gather_evenly(arrays: tuple[Array, Array], batch: Array) -> tuple[Array, Array]:
    return devices.gather_rows(arrays[0], batch, even=True), arrays[1][batch]


def _gather(arrays: tuple[Array, Array], batch: Array) -> tuple[Array, Array]:
    return devices.gather_rows(arrays[0], batch, even=False), arrays[1][batch]


def shuffled(seed: int, epoch: int, count: int) -> Int[np.ndarray, " item"]:
    """A seed's order of `count` items in an epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def free_memory() -> int:
    """Bytes of features that may stay on each device."""
    return devices.memory() // (4 if devices.backend() == "cpu" else 2)

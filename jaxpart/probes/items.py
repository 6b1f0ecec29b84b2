"""Labelled features, and how they come to the devices: all at once where they fit, else in pieces."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import Int

from jaxpart import devices
from jaxpart.probes.sweep import TEST_BATCH, Sweep, Training

PIECE_BYTES = 256 << 20
"""Features sent to the devices at once where not all of them fit."""


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


class _Some:
    """Rows of some items, wherever those of all lie."""

    def __init__(self, rows: Rows, items: Int[np.ndarray, " item"]) -> None:
        self._rows, self._items = rows, items
        self.shape, self.dtype = (len(items), *rows.shape[1:]), rows.dtype

    def take(self, indices: Any, axis: int) -> np.ndarray:
        return self._rows.take(self._items[indices], axis=axis)


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
        """Features of some items, `[*rows, …]` with the representation before the batch's axes."""
        found = [rows.take(indices, axis=0) for rows in self.features]
        return found[0][None] if len(found) == 1 else np.stack(found)

    def subset(self, items: Int[np.ndarray, " item"]) -> Items:
        """Some of them; copies nothing."""
        return Items([_Some(rows, items) for rows in self.features], self.labels[items])

    @functools.cached_property
    def resident(self) -> tuple[jax.Array, jax.Array]:
        """All features [representation, item, …] and labels, whole on every device."""
        return devices.replicate((self.take(np.arange(len(self))), self.labels))


class Tests:
    """The testing of a sweep after each epoch, in one or more pieces.

    Attributes:
      pieces: (start, stop) of the items of each.
    """

    def __init__(
        self,
        sweep: Sweep,
        test: Items,
        chosen_epoch: Int[np.ndarray, "representation seed rate"] | None,
        heads: tuple[int, int, int],
        memory: int,
    ) -> None:
        """Puts features on the devices, if they fit.

        Args:
          sweep: What is tested.
          test: Test items.
          chosen_epoch: See `train_heads`.
          heads: Number of representations, seeds and rates.
          memory: Bytes that the features may take.
        """
        self._sweep, self._test = sweep, test
        # Pieces are whole test batches, so that batch statistics are those of the published code.
        row = test.nbytes // len(test)
        piece = max(1, PIECE_BYTES // (row * TEST_BATCH)) * TEST_BATCH
        self._stays = test.nbytes <= memory
        piece = len(test) if self._stays else piece
        starts = range(0, len(test), piece)
        self.pieces = [(start, min(start + piece, len(test))) for start in starts]
        self._labels = devices.replicate(test.labels)
        never = np.full(heads, -1, np.int32)
        self._chosen = devices.replicate(never if chosen_epoch is None else chosen_epoch)

    def run(
        self, state: Training, epoch: int, start: int, stop: int
    ) -> tuple[Training, dict[str, jax.Array]]:
        """Tests a piece after an epoch; the state's buffers are taken over."""
        features = (
            self._test.resident[0]
            if self._stays
            else devices.replicate(self._test.take(np.arange(start, stop)))
        )
        place = devices.replicate((np.int32(epoch), np.int32(start)))
        return self._sweep.test(state, features, self._labels, *place, self._chosen)


def free_memory() -> int:
    """Bytes of features that may stay on each device."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    return (device.memory_stats() or {}).get("bytes_limit", 8 << 30) // 2

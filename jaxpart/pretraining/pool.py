"""Training images in memory: small data sets as uint8, shuffled anew in every epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int32, UInt8

from jaxpart.data.images import center_crop, decode, resize_shorter
from jaxpart.data.source import Source
from jaxpart.errors import JaxpartError


class PoolBatch(NamedTuple):
    """This process's rows of a batch: "image" (uint8) and "label" (int32)."""

    arrays: dict[str, np.ndarray]
    ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Pool:
    """All images of a training set.

    Attributes:
      images: Squares of one size.
      labels: Class of each; 0 where the data set has none.
      ids: Name of each.
    """

    images: UInt8[np.ndarray, "images size size 3"]
    labels: Int32[np.ndarray, " images"]
    ids: tuple[str, ...]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)


def read_pool(
    source: Source, size: int, progress: Callable[[int], None] = lambda count: None
) -> Pool:
    """Reads a data set: shorter sides brought to `size`, the middle square kept."""
    images = np.empty((len(source), size, size, 3), np.uint8)
    labels, ids = np.zeros(len(source), np.int32), []
    for i in range(len(source)):
        record = source[i]
        image = decode(record.image, record.annotation.id)
        images[i] = center_crop(resize_shorter(image, size), size)
        labels[i] = record.annotation.label or 0
        ids.append(record.annotation.id)
        progress(1)
    return Pool(images, labels, tuple(ids))


class PoolBatches:
    """Endless batches of a pool; the last images of an epoch that fill no batch are left out of it."""

    def __init__(self, pool: Pool, batch_size: int, seed: int) -> None:
        """Starts before the first batch.

        Args:
          pool: The images.
          batch_size: Of all processes together.
          seed: Of the order.

        Raises:
          JaxpartError: There are too few images, or the processes cannot share a batch.
        """
        if len(pool) < batch_size:
            raise JaxpartError(
                f"{len(pool)} images do not fill a batch of {batch_size}; lower --config.batch_size"
            )
        if batch_size % jax.device_count():
            raise JaxpartError(
                f"a batch of {batch_size} cannot be shared by {jax.device_count()} devices; give a "
                f"multiple"
            )
        self._pool, self._size, self._seed = pool, batch_size, seed
        self._number = 0
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        return len(self._pool) // self._size

    def __next__(self) -> PoolBatch:
        """The next batch."""
        epoch, place = divmod(self._number, self.per_epoch)
        if self._order[0] != epoch:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._pool))
            self._order = epoch, order
        share = self._size // jax.process_count()
        first = place * self._size + jax.process_index() * share
        rows = self._order[1][first : first + share]
        self._number += 1
        arrays = {"image": self._pool.images[rows], "label": self._pool.labels[rows]}
        return PoolBatch(arrays, tuple(self._pool.ids[row] for row in rows))

    def get_state(self) -> dict[str, Any]:
        """The number of batches given out."""
        return {"batch": self._number}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on after that many."""
        self._number = int(state["batch"])

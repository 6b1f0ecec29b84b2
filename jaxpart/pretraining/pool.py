"""Where training images come from: small sets lie in memory as uint8, large ones are read ahead."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from jaxpart import devices
from jaxpart.data import input
from jaxpart.data.images import center_crop, decode, resize_shorter
from jaxpart.data.source import Record, Source
from jaxpart.errors import JaxpartError
from jaxpart.training import Batches

_SAMPLE = 1024
"""Images for the tokenizer."""


class PoolBatch(NamedTuple):
    """A batch: "image" (uint8) and "label" (int32)."""

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
    random = np.random.default_rng(0)
    for i in range(len(source)):
        record = source[i]
        made = _square(record, random, size=size)
        images[i], labels[i] = made["image"], made["label"]
        ids.append(record.annotation.id)
        progress(1)
    return Pool(images, labels, tuple(ids))


class PoolBatches:
    """Endless batches of a pool; the last images of an epoch that fill no batch are left out of it."""

    def __init__(self, pool: Pool, batch_size: int, seed: int) -> None:
        """Starts before the first batch, all of them in the order of the seed."""
        self._pool, self._size, self._seed = pool, batch_size, seed
        self._number = 0
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def __next__(self) -> PoolBatch:
        """The next batch."""
        epoch, index = divmod(self._number, len(self._pool) // self._size)
        if self._order[0] != epoch:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._pool))
            self._order = epoch, order
        rows = self._order[1][index * self._size : (index + 1) * self._size]
        self._number += 1
        arrays = {"image": self._pool.images[rows], "label": self._pool.labels[rows]}
        return PoolBatch(arrays, tuple(self._pool.ids[row] for row in rows))

    def get_state(self) -> dict[str, Any]:
        """The number of batches given out."""
        return {"batch": self._number}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on after that many."""
        self._number = int(state["batch"])


class Supply(NamedTuple):
    """Where a run's images come from.

    Attributes:
      batches: For `jaxpart.training.fit`.
      per_epoch: Batches that show each image once.
      sample: Some images, for the tokenizer.
    """

    batches: Batches
    per_epoch: int
    sample: UInt8[np.ndarray, "images size size 3"]


def pool_supply(pool: Pool, batch_size: int, seed: int) -> Supply:
    """Batches from memory.

    Raises:
      JaxpartError: The pool does not fill a batch.
    """
    _check_batch(batch_size, len(pool))
    rows = np.sort(np.random.default_rng(seed).permutation(len(pool))[:_SAMPLE])
    batches = PoolBatches(pool, batch_size, seed)
    return Supply(batches, len(pool) // batch_size, pool.images[rows])


def loaded_supply(source: Source, size: int, batch_size: int, seed: int) -> Supply:
    """Batches read from disk while the devices work.

    Raises:
      JaxpartError: The source does not fill a batch, or its images cannot be read.
    """
    _check_batch(batch_size, len(source))
    make = functools.partial(_square, size=size)

    def loader(rows: int) -> input.Loader:
        return input.load(source, make, batch_size=rows, shuffle=True, epochs=None, seed=seed)

    first = loader(min(_SAMPLE, len(source)))
    sample = next(first).arrays["image"]
    first.close()
    return Supply(loader(batch_size), len(source) // batch_size, sample)


def _check_batch(size: int, images: int) -> None:
    if images < size:
        raise JaxpartError(
            f"{images} images are fewer than a batch of {size}; lower --config.batch_size"
        )
    devices.check_batch(size, "config.batch_size")


def _square(record: Record, random: np.random.Generator, *, size: int) -> dict[str, np.ndarray]:
    """The middle of an image, and its class; views are made of it on the device."""
    del random
    image = decode(record.image, record.annotation.id)
    label = np.int32(record.annotation.label or 0)
    return {"image": center_crop(resize_shorter(image, size), size), "label": np.asarray(label)}

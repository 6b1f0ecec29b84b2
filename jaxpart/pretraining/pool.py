"""Training images: small sets are held in memory as uint8, large ones are prefetched."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int32, UInt8

from jaxpart import devices
from jaxpart.data import input
from jaxpart.data.images import center_crop, decode, resize_shorter
from jaxpart.data.parallel import over_tasks
from jaxpart.data.source import Record, Source
from jaxpart.errors import JaxpartError
from jaxpart.training import BatchStream

_SAMPLE = 1024
"""Images for the tokenizer."""
_READ_AT_ONCE = 50
_CHUNKS_READ_HERE = 20
"""Above this, worker processes repay the seconds they take to start."""


class PoolBatch(NamedTuple):
    """A batch by its rows in the pool: "row" (int32)."""

    arrays: dict[str, np.ndarray]
    ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Pool:
    """All images of a training set.

    Images are squares of one size; labels are 0 where the data set has none.
    """

    images: UInt8[np.ndarray, "images size size 3"]
    labels: Int32[np.ndarray, " images"]
    ids: tuple[str, ...]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)


def read_pool(
    source: Source, size: int, advance: Callable[[int], None] = lambda count: None
) -> Pool:
    """Reads a data set on all cores, resizing shorter sides to `size` and keeping the central square."""
    images = np.empty((len(source), size, size, 3), np.uint8)
    labels, ids = np.zeros(len(source), np.int32), []
    starts = range(0, len(source), _READ_AT_ONCE)
    read = functools.partial(_read_squares, size=size)
    workers = None if len(starts) > _CHUNKS_READ_HERE else 1
    with contextlib.closing(over_tasks(read, {"": source}, starts, workers)) as chunks:
        for start, squares in chunks:
            stop = start + len(squares)
            images[start:stop] = [square["image"] for _, square in squares]
            labels[start:stop] = [square["label"] for _, square in squares]
            ids += [name for name, _ in squares]
            advance(len(squares))
    return Pool(images, labels, tuple(ids))


def _read_squares(
    sources: Mapping[str, Source], start: int, *, size: int
) -> list[tuple[str, dict[str, np.ndarray]]]:
    source, random = sources[""], np.random.default_rng(0)  # unused by `_square`
    records = (source[i] for i in range(start, min(start + _READ_AT_ONCE, len(source))))
    return [(record.annotation.id, _square(record, random, size=size)) for record in records]


class PoolBatches:
    """Endless batches from a pool, shuffled per epoch; an epoch's last, partial batch is dropped."""

    def __init__(self, pool: Pool, batch_size: int, seed: int) -> None:
        """Starts at the first batch; the order follows from the seed."""
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
        return PoolBatch({"row": rows.astype(np.int32)}, tuple(self._pool.ids[row] for row in rows))

    def get_state(self) -> dict[str, Any]:
        """The number of batches produced."""
        return {"batch": self._number}

    def set_state(self, state: dict[str, Any]) -> None:
        """Resumes after that many batches."""
        self._number = int(state["batch"])


class Supply(NamedTuple):
    """The training images of a run.

    Attributes:
      batches: For `jaxpart.training.fit`.
      put: Turns a batch's arrays into "image" (uint8) and "label" (int32) on the devices.
      per_epoch: Batches per epoch.
      sample: Some images, for the tokenizer.
    """

    batches: BatchStream
    put: Callable[[dict[str, np.ndarray]], dict[str, Array]]
    per_epoch: int
    sample: UInt8[np.ndarray, "images size size 3"]

    def close(self) -> None:
        """Stops the prefetch threads; the next batch restarts them."""
        if isinstance(self.batches, input.Loader):
            self.batches.close()


def pool_supply(pool: Pool, batch_size: int, seed: int) -> Supply:
    """Batches from memory: the images are replicated to every device, and a batch holds row numbers.

    Raises:
      JaxpartError: The pool does not fill a batch.
    """
    _check_batch(batch_size, len(pool))
    rows = np.sort(np.random.default_rng(seed).permutation(len(pool))[:_SAMPLE])
    resident = devices.replicate({"image": pool.images, "label": pool.labels})
    gather = jax.jit(lambda arrays, rows: jax.tree.map(lambda array: array[rows], arrays))

    def put(batch: dict[str, np.ndarray]) -> dict[str, Array]:
        rows = batch["row"]
        return gather(resident, devices.shard(rows[devices.my_share(len(rows))]))

    batches = PoolBatches(pool, batch_size, seed)
    return Supply(batches, put, len(pool) // batch_size, pool.images[rows])


def loaded_supply(source: Source, size: int, batch_size: int, seed: int) -> Supply:
    """Batches prefetched from disk.

    Raises:
      JaxpartError: The source does not fill a batch, or its images cannot be read.
    """
    _check_batch(batch_size, len(source))
    make = functools.partial(_square, size=size)

    def loader(rows: int, process: int, processes: int) -> input.Loader:
        return input.load(
            source,
            make,
            batch_size=rows,
            shuffle=True,
            epochs=None,
            seed=seed,
            process_index=process,
            process_count=processes,
        )

    # All processes fit the same tokenizer.
    with contextlib.closing(loader(min(_SAMPLE, len(source)), 0, 1)) as sample_loader:
        sample = next(sample_loader).arrays["image"]
    batches = loader(batch_size, devices.process_index(), devices.num_processes())
    return Supply(batches, devices.shard, len(source) // batch_size, sample)


def _check_batch(size: int, images: int) -> None:
    if images < size:
        raise JaxpartError(
            f"{images} images are fewer than a batch of {size}; lower --config.batch_size"
        )
    devices.check_batch(size, "config.batch_size")


def _square(record: Record, random: np.random.Generator, *, size: int) -> dict[str, np.ndarray]:
    """An image's central square and its class; views are made from it on the device."""
    del random
    image = decode(record.image, record.annotation.id)
    label = np.int32(record.annotation.label or 0)
    return {"image": center_crop(resize_shorter(image, size), size), "label": np.asarray(label)}

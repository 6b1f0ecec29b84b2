"""Data loading for training and testing: shuffled, sharded over processes, prefetched and resumable.

A run is one stream of records, epoch after epoch, divided into batches; batches may span two epochs, and
only the run's last batch is padded. The order of the stream and the random numbers of each record's
transform depend only on the seed, the epoch and the record. So batches do not depend on the number of
processes, workers or threads, and a run can resume at any batch with different numbers of them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import grain
import numpy as np
from absl import flags
from jaxtyping import Bool, Int64

from jaxpart.data.source import Record, Source
from jaxpart.errors import JaxpartError

Transform = Callable[[Record, np.random.Generator], dict[str, np.ndarray]]
"""Turns a record into arrays, with randomness from the generator; picklable for `workers`."""

State = dict[str, Any]
"""A position in a run, serializable to JSON."""


class Batch(NamedTuple):
    """This process's rows of a batch.

    Attributes:
      arrays: The transform's arrays, stacked; 0 where `valid` is False.
      valid: False for padding after the last record, and for records that could not be read.
      ids: Record ids, for error messages; "" for padding.
    """

    arrays: dict[str, np.ndarray]
    valid: Bool[np.ndarray, " batch"]
    ids: tuple[str, ...]


class Loader(Iterator[Batch]):
    """The batches of a run, made by `load`. Close it unless it is exhausted.

    Attributes:
      num_batches: Batches in the whole run, the same in every process; None if endless.
      skipped: Error message of each unreadable record that this process has skipped so far, by id.
    """

    num_batches: int | None
    skipped: dict[str, str]

    def __init__(
        self,
        start: Callable[[int], grain.IterDataset],
        num_batches: int | None,
        identity: State,
    ) -> None:
        """Reads nothing yet.

        Args:
          start: Creates the data set of all batches from a given index on.
          num_batches: Batches in the whole run.
          identity: Settings that a saved state must share to belong to the same run.
        """
        self.num_batches, self.skipped = num_batches, {}
        self._start, self._identity = start, identity
        self._next = 0
        self._iterator: grain.DatasetIterator | None = None

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
          JaxpartError: A record cannot be read (unless they are skipped), or records of one batch
            give arrays of different shapes.
        """
        if self._iterator is None:
            self._iterator = iter(self._start(self._next))
        batch, errors = next(self._iterator)
        self._next += 1
        self.skipped |= errors
        return batch

    def get_state(self) -> State:
        """The position after the last returned batch, the same in every process."""
        return {"next_batch": self._next, **self._identity}

    def set_state(self, state: State) -> None:
        """Moves to a saved position; the numbers of processes and workers may differ.

        Raises:
          JaxpartError: The state belongs to another run.
        """
        for key, expected in self._identity.items():
            if state.get(key) != expected:
                raise JaxpartError(
                    f"the saved position in the data has {key} {state.get(key)!r}, but this run has "
                    f"{expected!r}; resume with the same settings, or start over"
                )
        self.close()
        self._next = int(state["next_batch"])

    def close(self) -> None:
        """Stops threads and workers; the next batch restarts them."""
        if self._iterator is not None:
            self._iterator.close()
        self._iterator = None


def load(
    source: Source,
    transform: Transform,
    *,
    batch_size: int,
    shuffle: bool,
    epochs: int | None,
    seed: int = 0,
    workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    on_error: Literal["raise", "skip"] = "raise",
) -> Loader:
    """Starts a run over a data set.

    Args:
      source: The data set.
      transform: Turns a record into arrays, whose shapes must agree within a batch.
      batch_size: Global batch size over all processes, a multiple of `process_count`.
      shuffle: Whether to shuffle every epoch; otherwise in source order.
      epochs: Number of epochs; None for an endless run.
      seed: Seed of the order and of the transforms, 0 to 2³² − 1.
      workers: Worker processes; 0: threads of this process, one per core. Pillow releases the GIL, but
        a fifth of ImageNet's transforms is Python, so threads scale to about five cores. Workers are
        spawned, so scripts need `if __name__ == "__main__":`.
      process_index: Index of this process.
      process_count: Number of processes that share each batch.
      on_error: For unreadable records: "raise", or "skip": the row is not valid, and the reason is in
        `Loader.skipped`.

    Raises:
      JaxpartError: The source is empty, or the processes cannot share a batch.
    """
    records = len(source)
    name = f"{source.info.name}, split {source.info.split}"
    if not records:
        raise JaxpartError(f"{name} has no images; check the split and the data root")
    if batch_size < 1 or batch_size % process_count:
        raise JaxpartError(
            f"a batch of {batch_size} cannot be shared among {process_count} processes; give a "
            "multiple"
        )
    read = _Reader(source, transform, on_error)
    stream = grain.MapDataset.range(records).seed(seed).random_map(read).repeat(epochs)
    length = sys.maxsize // batch_size * batch_size if epochs is None else len(stream)
    num_batches, share = -(-length // batch_size), batch_size // process_count
    rows = grain.MapDataset.select_from_datasets(
        [stream, grain.MapDataset.source([_Row()])],
        _Rows(
            records=records,
            seed=seed if shuffle else None,
            length=length,
            num_batches=num_batches,
            share=share,
            process_index=process_index,
            process_count=process_count,
        ),
    )
    collate = _Collate(read, records, name)

    def start(first: int) -> grain.IterDataset:
        remaining = rows[first * share :]
        if workers:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # grain's workers read flags, also in a notebook
            return (
                remaining.batch(share, batch_fn=collate)
                .to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
                .mp_prefetch(grain.MultiprocessingOptions(workers))
            )
        threads = os.cpu_count() or 1
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + share)
        return remaining.to_iter_dataset(options).batch(share, batch_fn=collate)

    identity = {
        "data": name,
        "version": source.info.version,
        "records": records,
        "batch_size": batch_size,
        "shuffle": shuffle,
        "seed": seed,
    }
    return Loader(start, None if epochs is None else num_batches, identity)


class _Row(NamedTuple):
    """A transformed record, or the error of an unreadable one, or (without an id) padding."""

    id: str = ""
    arrays: dict[str, np.ndarray] | None = None
    error: str = ""


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads and transforms the record at an index."""

    source: Source
    transform: Transform
    on_error: str

    def __call__(self, index: int, random: np.random.Generator) -> _Row:
        try:
            record = self.source[index]
            return _Row(record.annotation.id, self.transform(record, random))
        except JaxpartError as error:
            name, reason = self.source.annotation(index).id, str(error)
            if name not in reason:
                reason = f"{name}: {reason}"
            if self.on_error == "raise":
                raise JaxpartError(reason) from error
            return _Row(name, error=reason)


@dataclasses.dataclass(frozen=True)
class _Rows(grain.transforms.DatasetSelectionMap):
    """Maps each row of this process to a record: the process's share of each batch.

    Selects from two data sets: all epochs in the source's order, and padding. We shuffle with NumPy, since
    grain takes half a millisecond per record for small data sets.
    """

    records: int
    seed: int | None
    length: int
    num_batches: int
    share: int
    process_index: int
    process_count: int

    def __len__(self) -> int:
        return self.num_batches * self.share

    def __getitem__(self, index: int) -> tuple[int, int]:
        batch, row = divmod(index, self.share)
        position = (batch * self.process_count + self.process_index) * self.share + row
        if position >= self.length:
            return 1, 0
        if self.seed is None:
            return 0, position
        epoch, position = divmod(position, self.records)
        return 0, epoch * self.records + int(_order(self.records, self.seed, epoch)[position])


@functools.lru_cache(maxsize=4)
def _order(records: int, seed: int, epoch: int) -> Int64[np.ndarray, " records"]:
    """The shuffled order of an epoch; cached, since threads may work on two epochs at once."""
    return np.random.default_rng((seed, epoch)).permutation(records)


class _Collate:
    """Stacks rows into a batch, and collects the errors of unreadable records by id."""

    def __init__(self, read: _Reader, records: int, name: str) -> None:
        self._read, self._records, self._name = read, records, name
        self._example: _Row | None = None

    def __call__(self, rows: Sequence[_Row]) -> tuple[Batch, dict[str, str]]:
        example = next((row for row in rows if row.arrays is not None), None) or self._any_row()
        assert example.arrays is not None
        arrays = {
            key: np.zeros((len(rows), *np.shape(value)), np.asarray(value).dtype)
            for key, value in example.arrays.items()
        }
        for number, row in enumerate(rows):
            for key, value in (row.arrays or {}).items():
                if np.shape(value) != arrays[key].shape[1:]:
                    raise JaxpartError(
                        f"{key!r} is {np.shape(value)} for {row.id} and {arrays[key].shape[1:]} for "
                        f"{example.id}; use batches of 1, or a transform with a fixed output size"
                    )
                arrays[key][number] = value
        valid = np.array([row.arrays is not None for row in rows])
        errors = {row.id: row.error for row in rows if row.error}
        return Batch(arrays, valid, tuple(row.id for row in rows)), errors

    def _any_row(self) -> _Row:
        """Any readable record, for the shapes of a batch without one."""
        if self._example is None:
            for index in range(self._records):
                row = self._read(index, np.random.default_rng(0))
                if row.arrays is not None:
                    self._example = row
                    break
            else:
                raise JaxpartError(f"no image of {self._name} can be read; one error: {row.error}")
        return self._example

"""Sweeps cut into pieces of training and testing, interleaved where they train on the same views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpart import devices
from jaxpart.probes.items import PIECE_BYTES, TEST_BATCH, Batches, EvalPiece, Items, TrainPiece


class Work(NamedTuple):
    """A piece of a sweep."""

    sweep: int
    epoch: int
    piece: TrainPiece | EvalPiece


class _Piece(NamedTuple):
    arrays: Work
    ids: tuple[str, ...]


class Pieces:
    """All pieces of a sweep: each epoch's training, then its test."""

    def __init__(self, batches: Batches, test: Items, memory: int) -> None:
        """Tests in one resident piece if the features fit into the given memory."""
        # Pieces are full test batches, so batch statistics match the published code's.
        batch_bytes = test.nbytes // len(test) * TEST_BATCH
        self._resident = test.nbytes <= memory
        self.nbytes = test.nbytes if self._resident else 0
        self._size = (
            len(test) if self._resident else max(1, PIECE_BYTES // batch_bytes) * TEST_BATCH
        )
        self._batches, self._test, self._number = batches, test, 0
        self.per_epoch = batches.pieces + -(-len(test) // self._size)

    @property
    def due(self) -> int:
        """See `Batches`; a test is due at once."""
        return self._batches.due if self._number % self.per_epoch < self._batches.pieces else -1

    @property
    def epoch(self) -> int:
        """Number of the next piece's epoch, from 0."""
        return self._number // self.per_epoch

    def __next__(self) -> tuple[TrainPiece | EvalPiece, tuple[str, ...]]:
        """The next piece, and names of its items for messages."""
        epoch, index = divmod(self._number, self.per_epoch)
        self._number += 1
        if index < self._batches.pieces:
            return self._batches.piece(epoch, index)
        start = (index - self._batches.pieces) * self._size
        items = np.arange(start, min(start + self._size, len(self._test)))
        features = (
            self._test.replicated[0]
            if self._resident
            else devices.replicate(self._test.take(items))
        )
        position = devices.replicate((np.int32(epoch), np.int32(start)))
        return EvalPiece(features, *position), ()

    def get_state(self) -> dict[str, Any]:
        """The position as JSON."""
        return {"number": self._number, "steps": self._batches.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a position."""
        self._number = state["number"]
        self._batches.set_state(state["steps"])


class Turns:
    """The pieces of several sweeps, for `training.fit`.

    The sweep whose piece ends first in the stream of items comes next, so that few items are held back.
    """

    def __init__(self, sweeps: Sequence[Pieces], epochs: Sequence[int]) -> None:
        """Takes the pieces of each sweep, and its number of epochs."""
        self._sweeps, self._epochs = sweeps, epochs
        self.total = sum(pieces.per_epoch * n for pieces, n in zip(sweeps, epochs, strict=True))

    def __next__(self) -> _Piece:
        """The next piece of any sweep."""
        unfinished = (i for i, sweep in enumerate(self._sweeps) if sweep.epoch < self._epochs[i])
        turn = min(unfinished, key=lambda i: self._sweeps[i].due)
        epoch = self._sweeps[turn].epoch
        piece, ids = next(self._sweeps[turn])
        return _Piece(Work(turn, epoch, piece), ids)

    def get_state(self) -> dict[str, Any]:
        """The position as JSON."""
        return {"sweeps": [sweep.get_state() for sweep in self._sweeps]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a position."""
        for sweep, position in zip(self._sweeps, state["sweeps"], strict=True):
            sweep.set_state(position)

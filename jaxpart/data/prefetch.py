"""Batches on their way to the device while it is at work on the one before."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from jaxpart.data.input import Batch, Loader, State

_T = TypeVar("_T")


class Prefetch(Iterator[_T], Generic[_T]):
    """Batches on the device before they are asked for, so that transfers overlap with computing.

    Its state is that of the loader after the last batch that was given away, not the last read.
    """

    def __init__(self, loader: Loader, put: Callable[[Batch], _T], ahead: int = 2) -> None:
        """Reads nothing yet.

        Args:
          loader: The run.
          put: Starts the transfer of a batch and returns without waiting, as `jax.device_put`.
          ahead: Batches in transfer beside the one in use, at least 1.
        """
        self._loader, self._put, self._ahead = loader, put, ahead
        self._state = loader.get_state()
        self._waiting: collections.deque[tuple[_T, State]] = collections.deque()

    def __next__(self) -> _T:
        """The next batch, as `put` made it."""
        while len(self._waiting) <= self._ahead:
            batch = next(self._loader, None)
            if batch is None:
                break
            self._waiting.append((self._put(batch), self._loader.get_state()))
        if not self._waiting:
            raise StopIteration
        batch_on_device, self._state = self._waiting.popleft()
        return batch_on_device

    def get_state(self) -> State:
        """The position after the last batch given away."""
        return self._state

    def set_state(self, state: State) -> None:
        """Goes to a position; see `Loader.set_state`."""
        self._loader.set_state(state)
        self._waiting.clear()
        self._state = state

    def close(self) -> None:
        """Ends the loader's threads and workers; the next batch goes on where the last ended."""
        self.set_state(self._state)

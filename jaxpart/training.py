"""The training loop shared by everything that trains, with resume.

The caller creates a fresh state. If the checkpointer holds a step, the state and the position in the data
are restored from it, and the loop continues. Nothing else is stored.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import jax
import numpy as np

from jaxpart import devices, terminal
from jaxpart.errors import JaxpartError, listed
from jaxpart.io.checkpoints import Checkpointer

State = TypeVar("State")

_STEPS_BETWEEN_SYNCS = 10


class BatchStream(Protocol):
    """An endless stream of batches whose position can be saved as JSON."""

    def __next__(self) -> Any:
        """The next batch: `arrays`, this process's share on the host, and `ids`, names for messages."""
        ...

    def get_state(self) -> dict[str, Any]:
        """The position after the batches returned so far."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Returns to a position from `get_state`."""
        ...


class Stopped(SystemExit):
    """The run was asked to stop and has saved its state.

    Its exit status is 0 after SIGTERM: a preempted run is not a failed one. After Ctrl-C it is 130.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        """Chooses the exit status."""
        super().__init__(terminal.INTERRUPTED if number == signal.SIGINT else 0)


def fit(
    step: Callable[[State, Any], tuple[State, dict[str, jax.Array]]],
    state: State,
    batches: BatchStream,
    *,
    steps: int,
    put: Callable[[Any], Any],
    checkpointer: Checkpointer | None = None,
    log: Callable[[int, dict[str, np.ndarray]], None] = lambda step, metrics: None,
    watch: Callable[[int, State], None] = lambda taken, state: None,
) -> State:
    """Runs the training loop.

    Args:
      step: Compiled; takes the state (whose buffers it may donate) and a batch on the devices, and
        returns the next state and metrics, including "loss".
      state: The state before the first step, on the devices; any pytree of arrays.
      batches: Source of the batches.
      steps: Total number of steps, including those before a resume.
      put: Moves the arrays of a batch to the devices, usually `devices.shard`.
      checkpointer: Where the state is saved; None: it is not saved.
      log: Called after every step with its number, from 0, and its metrics on the host. They are
        read one step late, so that the devices never wait.
      watch: Called after every step with the number of steps taken and the state, whose buffers
        the next step may donate.

    Raises:
      JaxpartError: A loss is not finite; the message names the step and its items.
      Stopped: After SIGTERM or Ctrl-C, once the state is saved.
    """
    first = 0
    if checkpointer is not None:
        restored = checkpointer.restore(state)
        if restored is not None:
            first, state, position = restored
            batches.set_state(position)
    pending: tuple[int, dict[str, jax.Array], tuple[str, ...]] | None = None

    def flush() -> None:
        nonlocal pending
        if pending is not None:
            number, metrics, ids = pending
            pending = None
            on_host = jax.device_get(metrics)
            _check_finite(on_host["loss"], number, ids)
            log(number, on_host)

    with terminal.saving_first() as asked_to_stop:
        for number in range(first, steps):
            batch = next(batches)
            state, metrics = step(state, put(batch.arrays))
            flush()
            pending = number, metrics, batch.ids
            watch(number + 1, state)
            due = checkpointer is not None and checkpointer.is_due()
            stop, due = _agreed(number, bool(asked_to_stop()), due)
            if checkpointer is not None and (stop or due):
                flush()
                checkpointer.save(number + 1, state, batches.get_state())
            if stop:
                if checkpointer is not None:
                    checkpointer.wait()
                raise Stopped(asked_to_stop() or signal.SIGTERM)
    flush()
    return state


def _agreed(number: int, stop: bool, due: bool) -> tuple[bool, bool]:
    """Whether to stop, and whether to save, after this step: all processes agree and save together.

    With several processes this happens only every few steps, since it costs a round trip.
    """
    if devices.num_processes() == 1:
        return stop, due
    if number % _STEPS_BETWEEN_SYNCS:
        return False, False
    stop, due = devices.anywhere(np.array([stop, due])).tolist()
    return stop, due


def _check_finite(loss: np.ndarray, number: int, ids: tuple[str, ...]) -> None:
    if not np.isfinite(loss).all():
        raise JaxpartError(
            f"the loss is {np.asarray(loss).tolist()} at step {number}, on the items {listed(ids, 8)}: "
            "lower the learning rate or check these items"
        )

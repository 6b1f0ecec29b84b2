"""Parallel work on records, in processes since much of it holds the GIL."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from jaxpart.data.source import Source
from jaxpart.errors import JaxpartError

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_AHEAD = 4
"""Tasks in flight per process; bounds the memory."""

_sources: Mapping[str, Source] = {}
"""The data sets of this worker process, by split; sent once, not with every task."""


def _initialise(sources: Mapping[str, Source], alive: Connection) -> None:
    global _sources
    _sources = sources
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    threading.Thread(target=_exit_with, args=(alive,), daemon=True).start()


def _exit_with(alive: Connection) -> None:
    """Exits this process as soon as the main process closes the pipe or dies."""
    with contextlib.suppress(EOFError, OSError):
        alive.recv_bytes()
    os._exit(1)


def _run(function: Callable[[Mapping[str, Source], Any], Any], task: Any) -> Any:
    return function(_sources, task)


def over_tasks(
    function: Callable[[Mapping[str, Source], _Task], _Result],
    sources: Mapping[str, Source],
    tasks: Sequence[_Task],
    workers: int | None = None,
) -> Generator[tuple[_Task, _Result], None, None]:
    """Yields (task, `function(sources, task)`) in the order of the tasks, computed a few tasks ahead.

    Close the generator unless it is exhausted; this kills the processes.

    Args:
      function: A module-level function.
      sources: Data sets by split.
      tasks: Arguments of the function.
      workers: Processes; by default one per core. One worker, or one task, runs in this process.

    Raises:
      JaxpartError: A process died. The first error of `function` is passed on.
    """
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers < 1:
        raise JaxpartError(f"workers cannot be {workers}; give at least 1")
    workers = min(workers, len(tasks))
    if workers <= 1:
        for task in tasks:
            yield task, function(sources, task)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks held by JAX's threads
    alive, held_open = context.Pipe(duplex=False)
    with (
        alive,
        held_open,
        concurrent.futures.ProcessPoolExecutor(
            workers, context, _initialise, (sources, alive)
        ) as pool,
    ):
        pending: collections.deque[concurrent.futures.Future[_Result]] = collections.deque()
        upcoming = iter(tasks)
        try:
            for task in tasks:
                for ahead in itertools.islice(upcoming, _AHEAD * workers - len(pending)):
                    pending.append(pool.submit(_run, function, ahead))
                yield task, pending.popleft().result()
        except BrokenProcessPool as error:
            raise JaxpartError(
                "a process died, perhaps out of memory; try again with fewer --workers"
            ) from error
        except BaseException:
            held_open.close()
            raise

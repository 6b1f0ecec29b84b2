"""Work on the records of data sets by all cores: processes, since decoding is not all that it takes."""

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
"""Tasks for each process that are at work or wait for those before them: they bound memory."""

_sources: Mapping[str, Source] = {}
"""The data sets of this process, by split; sent once, not with every task."""


def _start(sources: Mapping[str, Source], alive: Connection) -> None:
    global _sources
    _sources = sources
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive: Connection) -> None:
    """Ends this process at once when the main one closes the pipe, or is killed."""
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
    """Yields (task, `function(sources, task)`) in the order of the tasks, a few of which run ahead.

    To be closed if left before its end, which ends the processes in the midst of their tasks.

    Args:
      function: A function of a module, which another process can find.
      sources: Data sets by split.
      tasks: What to do.
      workers: Processes; by default one per core. With one, or one task, all is done here.

    Raises:
      JaxpartError: What `function` raises first, which ends the others too, or a process died.
    """
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers < 1:
        raise JaxpartError(f"workers cannot be {workers}; give at least 1")
    workers = min(workers, len(tasks))
    if workers <= 1:
        for task in tasks:
            yield task, function(sources, task)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy JAX's locked threads
    alive, ending = context.Pipe(duplex=False)
    with (
        alive,
        ending,
        concurrent.futures.ProcessPoolExecutor(workers, context, _start, (sources, alive)) as pool,
    ):
        waiting: collections.deque[concurrent.futures.Future[_Result]] = collections.deque()
        left = iter(tasks)
        try:
            for task in tasks:
                for ahead in itertools.islice(left, _AHEAD * workers - len(waiting)):
                    waiting.append(pool.submit(_run, function, ahead))
                yield task, waiting.popleft().result()
        except BrokenProcessPool as error:
            raise JaxpartError(
                "a process died, perhaps out of memory; try again with fewer --workers"
            ) from error
        except BaseException:
            ending.close()
            raise

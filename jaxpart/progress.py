"""What a run shows while it works: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import rich.console
import rich.progress

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows progress on standard error."""

    def __init__(self, *, shown: bool = True) -> None:
        """Finds out whether standard error is a terminal.

        Args:
          shown: False for processes beside the main one, which are silent.
        """
        self._console = rich.console.Console(stderr=True, highlight=False, quiet=not shown)

    def say(self, line: str) -> None:
        """Prints a line."""
        self._console.print(line, markup=False)

    @contextlib.contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yields a function that takes the number of items done since its last call."""
        if self._console.is_terminal:
            columns = (
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TimeRemainingColumn(),
            )
            with rich.progress.Progress(*columns, console=self._console) as bars:
                task = bars.add_task(what, total=total)
                yield lambda count: bars.advance(task, count)
            return
        start = said = time.monotonic()
        done = 0

        def advance(count: int) -> None:
            nonlocal done, said
            done += count
            now = time.monotonic()
            if now - said > _SECONDS_BETWEEN_LINES or done == total:
                said = now
                self.say(f"{what}: {done} of {total}, {done / (now - start):.0f} per second")

        yield advance

"""The progress of a run: bars on a terminal, otherwise a line a minute."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

import rich.console
import rich.progress
import rich.text

_SECONDS_PER_LINE = 60.0


class Progress:
    """Shows progress on standard error."""

    _printed: ClassVar[set[str]] = set()

    def __init__(self, *, shown: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """Detects whether standard error is a terminal.

        Args:
          shown: False for processes other than the main one, which are silent.
          clock: Returns the time in seconds.
        """
        self._clock = clock
        self._console = rich.console.Console(stderr=True, highlight=False, quiet=not shown)

    def say(self, line: str) -> None:
        """Prints a line about something that was left out or that affects what a result means."""
        self._console.print(line, markup=False, soft_wrap=True)

    def say_once(self, lines: Iterable[str]) -> None:
        """Prints the lines that this process has not printed yet."""
        for line in lines:
            if line not in self._printed and not self._console.quiet:
                self._printed.add(line)
                self.say(line)

    @contextlib.contextmanager
    def bar(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Yields a function that takes the number of items done since its last call.

        A terminal shows the number done, the rate and the remaining time. If `total` is None (unknown), it
        shows the elapsed time, and clears the line at the end. Without a terminal, a line is printed
        every minute, if there is a total.
        """
        if not self._console.is_terminal or self._console.quiet:
            yield self._lines(what, total)
            return
        counted = (
            rich.progress.MofNCompleteColumn(),
            _Rate(),
            rich.progress.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        columns = (
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(),
            *(counted if total is not None else (rich.progress.TimeElapsedColumn(),)),
        )
        transient = total is None
        with rich.progress.Progress(*columns, console=self._console, transient=transient) as bars:
            task = bars.add_task(what, total=total)
            yield lambda count: bars.advance(task, count)

    def _lines(self, what: str, total: int | None) -> Callable[[int], None]:
        """A function that takes the number of items done since its last call, and prints the lines."""
        done, before, since = 0, 0, self._clock()

        def advance(count: int) -> None:
            nonlocal done, before, since
            done, now = done + count, self._clock()
            if total is None or done >= total or now - since < _SECONDS_PER_LINE:
                return
            # The rate of the last minute only: a resumed run starts by reporting all earlier items.
            remaining = (total - done) * (now - since) / max(1, done - before)
            self.say(f"{what}: {done:,} of {total:,}, about {duration(remaining)} left")
            before, since = done, now

        return advance


def duration(seconds: float) -> str:
    """An approximate duration in words: "40 seconds", "8 minutes", "2.5 hours".

    Args:
      seconds: How long.
    """
    if seconds < 100:
        return f"{max(1, round(seconds))} second{'s' if round(seconds) > 1 else ''}"
    if seconds < 100 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"


class _Rate(rich.progress.ProgressColumn):
    """Items per second, or seconds per item."""

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        rate = task.finished_speed or task.speed
        if not rate:
            return rich.text.Text("")
        if rate < 1:
            return rich.text.Text(f"{1 / rate:.1f} s each", style="progress.data.speed")
        text = f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
        return rich.text.Text(text, style="progress.data.speed")

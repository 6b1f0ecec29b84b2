"""What a run shows while it works: bars on a terminal; elsewhere what one should know, and no more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

import rich.console
import rich.progress
import rich.text


class Progress:
    """Shows progress on standard error."""

    _said: ClassVar[set[str]] = set()

    def __init__(self, *, shown: bool = True) -> None:
        """Finds out whether standard error is a terminal.

        Args:
          shown: False for processes beside the main one, which are silent.
        """
        self._console = rich.console.Console(stderr=True, highlight=False, quiet=not shown)

    def say(self, line: str) -> None:
        """Prints a line: something that was left out, or that decides what a result means."""
        self._console.print(line, markup=False, soft_wrap=True)

    def say_once(self, lines: Iterable[str]) -> None:
        """Prints those of the lines that this process has not printed yet."""
        for line in lines:
            if line not in self._said and not self._console.quiet:
                self._said.add(line)
                self.say(line)

    @contextlib.contextmanager
    def bar(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Yields a function that takes the number of items done since its last call.

        A terminal shows how many are done, how many a second, and how long the others take. Where
        `total` is None, since nobody can tell, it shows the time so far, and nothing in the end.
        """
        if not self._console.is_terminal or self._console.quiet:
            yield lambda count: None
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
        gone = total is None
        with rich.progress.Progress(*columns, console=self._console, transient=gone) as bars:
            task = bars.add_task(what, total=total)
            yield lambda count: bars.advance(task, count)


class _Rate(rich.progress.ProgressColumn):
    """Items per second, or seconds per item."""

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        rate = task.finished_speed or task.speed
        if not rate:
            return rich.text.Text("")
        if rate < 1:
            return rich.text.Text(f"{1 / rate:.1f} s each", style="progress.data.speed")
        said = f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
        return rich.text.Text(said, style="progress.data.speed")

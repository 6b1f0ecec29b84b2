"""The one exception that a user's mistake raises, and how a command line tells it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

_Arguments = ParamSpec("_Arguments")


class JaxpartError(Exception):
    """Wrong input, told in one sentence: what is wrong, where, and what to do.

    Command lines print the sentence and exit with 2; anything else that is raised is a bug.
    """


def shown(text: str, most: int = 60) -> str:
    """A name out of a file as a message can hold it: printable, and no longer than `most`."""
    text = text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def told(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
    """A command line's `main` that tells a `JaxpartError` in its sentence and returns 2 then."""

    @functools.wraps(main)
    def run(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> int:
        try:
            return main(*arguments, **options)
        except JaxpartError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2

    return run

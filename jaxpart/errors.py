"""The exception for user mistakes, and helpers for its messages."""

from __future__ import annotations

from collections.abc import Iterable


class JaxpartError(Exception):
    """Invalid input, described in one sentence: what is wrong, where, and what to do.

    Command lines print the sentence and exit with status 2; any other exception is a bug.
    """


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type if empty, to embed in a sentence."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def listed(names: Iterable[str], most: int, between: str = ", ") -> str:
    """The first `most` names, and how many more there are: "a, b and 3 more"."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def printable(text: str, most: int = 60) -> str:
    """A name from a file, made safe for a message: printable, and at most `most` characters long."""
    text = text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"
    return "".join(character if character.isprintable() else "?" for character in text)

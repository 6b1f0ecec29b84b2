"""The one exception that a user's mistake raises."""

from __future__ import annotations

from collections.abc import Iterable


class JaxpartError(Exception):
    """Wrong input, told in one sentence: what is wrong, where, and what to do.

    Command lines print the sentence and exit with 2; anything else that is raised is a bug.
    """


def first_line(error: BaseException) -> str:
    """What an exception says, without its later lines, or else its type; a sentence can hold it."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def listed(names: Iterable[str], most: int, between: str = ", ") -> str:
    """The first names, and the number of others: "a, b and 3 more"."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def shown(text: str, most: int = 60) -> str:
    """A name out of a file as a message can hold it: printable, and no longer than `most`."""
    text = text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)

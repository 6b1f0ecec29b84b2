"""The one exception that a user's mistake raises."""

from __future__ import annotations


class JaxpartError(Exception):
    """Wrong input, told in one sentence: what is wrong, where, and what to do.

    Command lines print the sentence and exit with 2; anything else that is raised is a bug.
    """


def first_line(error: BaseException) -> str:
    """What an exception says, without its later lines; a sentence can hold it."""
    return str(error).strip().partition("\n")[0]


def shown(text: str, most: int = 60) -> str:
    """A name out of a file as a message can hold it: printable, and no longer than `most`."""
    text = text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)

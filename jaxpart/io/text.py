"""Reads the user's text and JSON files, in UTF-8 or UTF-16 with any line endings; writes CSV."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import functools
import io
import json
import re
import types
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jaxpart.errors import JaxpartError, printable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is a prefix of it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_INSPECTED = 1024
_FORMULAS = ("=", "+", "-", "@", "\t", "\n")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")


def decode_text(data: bytes, name: object) -> str:
    r"""Decodes a text file; removes the byte order mark and converts line endings to "\n".

    UTF-16 without a mark is recognised by its null bytes, which UTF-8 text lacks.

    Raises:
      JaxpartError: The bytes are not text in UTF-8, UTF-16 or UTF-32.
    """
    mark, encoding = next(((m, e) for m, e in _MARKS if data.startswith(m)), (b"", ""))
    try:
        text = data[len(mark) :].decode(encoding or _guess_encoding(data))
    except UnicodeDecodeError as error:
        raise JaxpartError(
            f"{name} is not a text file in UTF-8 or UTF-16 (byte {error.start + len(mark)}); save it as "
            "UTF-8"
        ) from error
    if "\0" in text[:_INSPECTED]:
        raise JaxpartError(f"{name} is not a text file (it holds null bytes); save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def text_lines(data: bytes, name: object) -> list[str]:
    """The lines of a text file, without line endings; see `decode_text`."""
    lines = decode_text(data, name).split("\n")
    return lines if lines[-1] else lines[:-1]


def decode_json(data: bytes, name: object, advice: str = "unpack it again") -> Any:
    """Parses a JSON file in any encoding of `decode_text`.

    Raises:
      JaxpartError: It is not text, not JSON, nested too deeply for Python, or gives a key two values.
    """
    try:
        return json.loads(decode_text(data, name), object_pairs_hook=_object)
    except RecursionError as error:
        raise JaxpartError(f"{name} is damaged (it is nested too deeply); {advice}") from error
    except ValueError as error:
        raise JaxpartError(f"{name} is damaged ({error}); {advice}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # of which Python would keep the last
        for key, value in pairs:
            if found[key] != value:
                raise ValueError(f"the key {printable(repr(key))} has two values in an object")
    return found


_hints = functools.cache(get_type_hints)


def typed_value(kind: Any, value: Any, name: str) -> Any:
    """A value of a JSON file, with lists as tuples and objects as dataclasses.

    Args:
      kind: The type that it must have, exactly: a number, text, `Literal`, tuple, dataclass, or one of them
        or None.
      value: The value.
      name: Its name, for error messages.

    Raises:
      ValueError: It is of another type.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        return None if value is None else typed_value(arguments[0], value, name)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = _hints(kind)
        if unknown := value.keys() - hints.keys():
            raise ValueError(f"{name} has {printable(min(unknown))}, which is unknown")
        return kind(**{key: typed_value(hints[key], item, key) for key, item in value.items()})
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(typed_value(*pair, name) for pair in zip(kinds, value, strict=True))
    numbers = (int, float) if kind is float else (kind,)
    if value in arguments if origin is Literal else type(value) in numbers:
        return value
    raise ValueError(f"{name} is {printable(repr(value))}")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV.

    Text that a spreadsheet would execute as a formula gets a leading apostrophe; numbers do not.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([_guarded(str(cell)) for cell in row])
    return file.getvalue()


def _guarded(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # csv quotes only line feeds
    return f"'{text}" if text[:1] in _FORMULAS and not _NUMBER.fullmatch(text) else text


def _guess_encoding(data: bytes) -> str:
    """The encoding of a file without a byte order mark."""
    start = data[:_INSPECTED]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if len(data) % 2 == 0 and even + odd:
        if odd > len(start) // 4 and not even:
            return "utf-16-le"
        if even > len(start) // 4 and not odd:
            return "utf-16-be"
    return "utf-8"

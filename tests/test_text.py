"""Text files in whatever encoding a user's editor has saved them."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpart.errors import JaxpartError
from jaxpart.io.text import csv_text, decode_text, text_lines

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_encoding_and_line_end(encoding, end):
    lines = ["head", "aile gauche é", "", "tail"]
    data = end.join([*lines, ""]).encode(encoding)
    assert text_lines(data, "a.txt") == lines
    assert text_lines(data[: -len(end.encode(encoding.removesuffix("-sig")))], "a.txt")[0] == "head"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff")))
def test_utf8_is_itself(text):
    assert decode_text(text.encode(), "a.txt") == text


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"caf\xe9\n", b"\x00\x01\x02\x03", b"a\0b"])
def test_what_is_no_text_is_named(data):
    with pytest.raises(JaxpartError, match=r"a\.txt is not a text file.*save it as UTF-8"):
        decode_text(data, "a.txt")


def test_only_line_ends_end_lines():
    assert text_lines("a\x0bb\u2028c\n".encode(), "a.txt") == ["a\x0bb\u2028c"]
    assert text_lines(b"", "a.txt") == []


@given(st.lists(st.lists(st.text(st.characters(exclude_characters="\r")), min_size=2), min_size=1))
def test_no_cell_of_a_csv_is_a_formula(rows):
    text = csv_text(("a", "b"), rows)
    found = list(csv.reader(io.StringIO(text)))
    assert [[cell.removeprefix("'") for cell in row] for row in found[1:]] == [
        [cell.removeprefix("'") for cell in row] for row in rows
    ]
    assert not any(
        cell[:1] in tuple("=+-@\t\r") for row in found for cell in row if not number(cell)
    )


def number(text):
    return re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text)


def test_numbers_stay_numbers_in_a_csv():
    assert csv_text(("x",), [(-1.5,), ("+2",), ("-",), ("=1",)]) == "x\n-1.5\n+2\n'-\n'=1\n"


def test_a_line_end_in_a_cell_of_a_csv_ends_no_row():
    rows = [("a\r=1", "\r"), ("\n@x", -1e-7)]
    found = list(csv.reader(io.StringIO(csv_text(("a", "b"), rows), newline="")))
    assert found == [["a", "b"], ["a\n=1", "'\n"], ["'\n@x", "-1e-07"]]

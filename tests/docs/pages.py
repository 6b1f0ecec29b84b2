"""The pages of the documentation as blocks of code and commands."""

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Iterator, Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
README = ROOT / "README.md"

_FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.M | re.S)
_NEEDS = re.compile(r"# needs (.+)")
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_ENDS = ("||", "|", "&&", ";", ">")
_NUMBERS = ("N", "I")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
      page: Its page.
      line: Where it begins.
      language: "bash", "python", "text" for what the block before it prints, or "".
      text: What it holds.
    """

    page: pathlib.Path
    line: int
    language: str
    text: str

    @property
    def needs(self) -> str:
        """What it needs that is not here, as its first line says; else ""."""
        found = _NEEDS.match(self.text)
        return found[1] if found else ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: pathlib.Path) -> list[Block]:
    """The fenced blocks of a page, but those that are Sphinx's directives."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: found.start()].count("\n") + 1, found[1], found[2])
        for found in _FENCE.finditer(text)
        if not found[1].startswith("{")
    ]


def spans(page: pathlib.Path) -> list[str]:
    """Code within sentences and tables."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(span.split()) for span in _SPAN.findall(prose)]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """(module, arguments) of every `python -m` in a piece of shell, also within an argument.

    Of alternatives as in a synopsis, `[--layout original|timm]`, the first is taken.
    """
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for word in words:
            if "python -m " in word:
                yield from commands(word[word.index("python -m ") :])
        starts = [i for i, word in enumerate(words[:-1]) if _is_python(word, words[i + 1])]
        for start in starts:
            module, *rest = words[start + 1 :][1:]
            end = next((i for i, word in enumerate(rest) if word in _ENDS), len(rest))
            yield module, [_first(word) for word in rest[:end] if word.strip("[]…")]


def _is_python(word: str, option: str) -> bool:
    return word.rpartition("/")[2] in ("python", "python3") and option == "-m"


def _first(word: str) -> str:
    if word.startswith("--config"):
        return word
    name, equals, value = word.strip("[]").rpartition("=")
    value = value.split("|")[0]
    return f"{name}{equals}{'1' if value in _NUMBERS else value}"


def paths(names: Sequence[str]) -> list[str]:
    """Those of the names that are paths in this project."""
    return [
        name for name in names if re.fullmatch(r"(jaxpart|convert|configs|tests)/[\w./]+", name)
    ]

"""Name tables: a layout's name for every part of an encoder, and ours.

A table is text with one part per line, the checkpoint's name on the left and ours on the right:

    cls_token                   prefix_tokens:cls
    patch_embed.proj            stem.projection
    blocks.{i}.attn.q_proj      blocks.{i}.attention.qkv:q
    head.mlp.{2i}               projector.head.layers.{i}

A line names an array, or a module, to whose names the parameters (`weight`, `bias` and BatchNorm's
statistics) are appended. `{i}` matches an integer; `{2i}` and `{3i+1}` match numbers of that form. A suffix
after a colon selects a part of our array, see `convert/arrays.py`. Tables are used in both directions, to
convert and to export a state dict; if several lines map to one part, all are read and the first is written.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator

PARAMETERS = ("weight", "bias", "running_mean", "running_var")
_FLAX_PARAMETERS = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
_INDEX = re.compile(r"\{(\d*)i(?:\+(\d+))?\}")


@dataclasses.dataclass(frozen=True)
class _Line:
    theirs: str
    ours: str
    part: str

    def index(self, name: str) -> int | None:
        """The i of a name that matches this line; None if its number does not fit."""
        form = _INDEX.search(self.theirs)
        if form is None:
            return 0 if name == self.theirs else None
        number = re.fullmatch(
            re.escape(self.theirs).replace(re.escape(form[0]), r"(\d{1,9})"), name
        )
        if number is None:
            return None
        index, rest = divmod(int(number[1]) - int(form[2] or 0), int(form[1] or 1))
        return index if rest == 0 and index >= 0 else None


def split_part(name: str) -> tuple[str, str]:
    """Splits one of our names into (array, part or "")."""
    array, _, part = name.partition(":")
    return array, part


@dataclasses.dataclass(frozen=True)
class Names:
    """A name table.

    Attributes:
      table: Its lines, as text.
      before: Regular expressions and their replacements, applied to a checkpoint's key before it is
        looked up, for equivalent spellings.
      flax: Whether the checkpoint is from Flax, whose arrays have other names and axes.
    """

    table: str
    before: tuple[tuple[str, str], ...] = ()
    flax: bool = False

    def __add__(self, table: str) -> Names:
        """The table with lines appended, which are written last."""
        return dataclasses.replace(self, table=f"{self.table}\n{table}")

    def __radd__(self, table: str) -> Names:
        """The table with lines prepended, which are written first."""
        return dataclasses.replace(self, table=f"{table}\n{self.table}")

    @functools.cached_property
    def _lines(self) -> tuple[_Line, ...]:
        rows = [row.split() for row in self.table.splitlines() if row.strip()]
        return tuple(_Line(theirs, *split_part(ours)) for theirs, ours in rows)

    @functools.cached_property
    def _by_theirs(self) -> dict[str, list[_Line]]:
        lines: dict[str, list[_Line]] = {}
        for line in self._lines:
            lines.setdefault(_INDEX.sub("#", line.theirs), []).append(line)
        return lines

    @functools.cached_property
    def _by_ours(self) -> dict[str, list[_Line]]:
        lines: dict[str, list[_Line]] = {}
        for line in self._lines:
            lines.setdefault(_INDEX.sub("#", line.ours), []).append(line)
        return lines

    def plain(self, key: str) -> str:
        """A checkpoint's key in the spelling of the table."""
        for pattern, replacement in self.before:
            key = re.sub(pattern, replacement, key)
        return key

    def ours(self, key: str) -> str | None:
        """Our name, with the part, for a key in the table's spelling, or None."""
        name = self._find(key)
        module, _, parameter = key.rpartition(".")
        if self.flax:
            parameter = _FLAX_PARAMETERS.get(parameter, "")
        if name is None and parameter in PARAMETERS:
            name = self._find(module, f".{parameter}")
        return name

    def _find(self, name: str, parameter: str = "") -> str | None:
        for form in (name, _NUMBER.sub("#", name)):
            for line in self._by_theirs.get(form, ()):
                index = line.index(name)
                if index is not None:
                    ours = line.ours.replace("{i}", str(index)) + parameter
                    return f"{ours}:{line.part}" if line.part else ours
        return None

    def parts(self, ours: str, *, whole: bool = False) -> dict[str, str]:
        """Their names for the parts of one of our modules or arrays, for export.

        Args:
          ours: Our name; with a part, only that line is used.
          whole: Whether the exported encoder stores it in one piece.

        Returns:
          Name by part: {"": name} if stored in one piece; empty if the table lacks it. Its first line
          in the table decides.
        """
        ours, part_name = split_part(ours)
        number = _NUMBER.search(ours)
        lines = self._by_ours.get(ours) or self._by_ours.get(_NUMBER.sub("#", ours), [])
        named: dict[str, str] = {}
        for line in lines:
            theirs = _INDEX.sub(lambda form: _number(form, number), line.theirs)
            named.setdefault(line.part, theirs)
        if part_name:
            return {"": named[part_name]} if part_name in named else {}
        # DINOv3's plain MLP has a gated MLP's names.
        if whole and lines and lines[0].part == "value":
            return {"": named["value"]}
        if lines and (not lines[0].part or (whole and "" in named)):
            return {"": named[""]}
        return {part: name for part, name in named.items() if part}

    def theirs_of(self, *ours: str) -> Iterator[str]:
        """All their names that map to one of our modules or arrays, for the first block."""
        for line in self._lines:
            if line.ours.replace("{i}", "0") in ours:
                yield _INDEX.sub(lambda form: form[2] or "0", line.theirs)


def _number(form: re.Match[str], index: re.Match[str] | None) -> str:
    return str(int(index[0] if index else 0) * int(form[1] or 1) + int(form[2] or 0))

"""Families of checkpoints: their layouts, and the facts that no array holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from convert.names import Names
from convert.options import Options
from jaxpart.errors import JaxpartError

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Attention heads by width, tiny to huge."""

Arrays = Mapping[str, Any]
"""Arrays of a checkpoint by our names, in PyTorch's orientation; parts are named with a colon."""


@dataclasses.dataclass(frozen=True)
class Ignore:
    """Keys that are dropped on purpose: a shell-style pattern and a reason."""

    pattern: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Layout:
    """A checkpoint's naming scheme, and the location of its network.

    Attributes:
      names: The table of its names.
      encoder: Possible prefixes of the encoder's keys that its siblings (a projector) do not have;
        "" for none.
      networks: Names of the networks in its releases, in order of preference.
      ignored: Keys to drop, without the prefix.
      fields: Fields of `ViTConfig` in which its implementation differs.
    """

    names: Names
    encoder: tuple[str, ...] = ("",)
    networks: tuple[str, ...] = ()
    ignored: tuple[Ignore, ...] = ()
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _as_read(arrays: Arrays, fields: dict[str, Any], options: Options) -> dict[str, Any]:
    return fields


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of checkpoint.

    Attributes:
      name: Its name on the command line, "ibot".
      layouts: "original", and the other layouts in which its weights exist.
      fields: Facts that no array holds: fields of `ViTConfig` that differ from the defaults.
      inferred: Fields of `ViTConfig` that are read from the arrays; the others follow `fields` or the
        defaults, and arrays that contradict them are rejected.
      tokens: Tokens before the patches that every encoder of the family has.
      optional_tokens: Tokens that only some have.
      heads: Attention heads by width.
      projectors: Kinds of projectors that it may have, see `ProjectorConfig`. Other classifiers are
        dropped.
      decoder: Its pretraining decoder, see `convert/decoders.py`.
      adjust: (arrays, fields as read, options) → fields, for anything else; a field "slots" says which
        tokens have a position, if their number is ambiguous: "all", "none", or "cls", the default, for all
        but the registers.
    """

    name: str
    layouts: Mapping[str, Layout]
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inferred: frozenset[str] = frozenset()
    tokens: tuple[str, ...] = ("cls",)
    optional_tokens: tuple[str, ...] = ()
    heads: Mapping[int, int] = dataclasses.field(default_factory=lambda: HEADS)
    projectors: frozenset[str] = frozenset()
    decoder: Any = None
    adjust: Callable[[Arrays, dict[str, Any], Options], dict[str, Any]] = _as_read

    def layout(self, name: str) -> Layout:
        """The layout of this name. Raises `JaxpartError` if the family has none."""
        if name not in self.layouts:
            raise JaxpartError(
                f"there is no {name!r} layout of {self.name}; choose from {', '.join(self.layouts)}"
            )
        return self.layouts[name]


def shape(arrays: Arrays, name: str, *axes: int) -> tuple[int, ...]:
    """Shape of an array, which must have the named axes, all non-empty.

    Raises:
      JaxpartError: It is missing or has another number of axes.
    """
    if name not in arrays:
        raise JaxpartError(f"the array {name.replace('.weight', '')} is missing")
    actual = tuple(arrays[name].shape)
    if math.prod(actual) == 0 or (axes and len(actual) not in axes):
        expected = " or ".join(map(str, axes)) or "some"
        raise JaxpartError(f"{name} has the shape {list(actual)[:8]}; {expected} axes are expected")
    return actual

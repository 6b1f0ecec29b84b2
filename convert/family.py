"""What a family of checkpoints is: its layouts, and what no array tells of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from convert.names import Names
from convert.options import Options
from jaxpart.encoders.families import Preprocessing
from jaxpart.errors import JaxpartError

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Attention heads by width, tiny to huge."""

Arrays = Mapping[str, Any]
"""Arrays of a checkpoint by our names, in PyTorch's orientation; parts are named with a colon."""


@dataclasses.dataclass(frozen=True)
class Ignore:
    """Keys that are left out on purpose: a shell-style pattern, and why."""

    pattern: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Layout:
    """Whose names a checkpoint uses, and where it keeps its network.

    Attributes:
      names: The table of its names.
      encoder: Prefixes that the encoder's keys may have and what stands beside them (a projector) has
        not; "" where they have none.
      networks: Names of the networks in its releases, the preferred one first.
      ignored: What is left out, by its name without the prefix.
      fields: What its implementation computes differently, as fields of `ViTConfig`.
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
      name: As the user gives it, "ibot".
      layouts: "original", and whatever else its weights are published or kept in.
      fields: What no array tells: fields of `ViTConfig` that differ from its defaults.
      told: Fields of `ViTConfig` that its arrays tell; the others are as `fields` or the defaults say,
        and arrays that do not fit them are refused.
      tokens: Tokens that every encoder of the family has before its patches.
      optional_tokens: Tokens that some have too.
      slots: Which tokens have a position, if the number of positions leaves a choice: "all", "none", or
        "cls" for all but the registers.
      heads: Attention heads by width.
      projectors: Kinds of projectors that it may have, see `ProjectorConfig`. What else looks like a
        classifier is left out.
      decoder: What stands behind its encoder in pretraining, see `convert/decoders.py`.
      adjust: (arrays, fields as read, options) → fields, for what needs more than this.
      preprocessing: Mean and std of its pixels, where `jaxpart.families()` does not know it.
    """

    name: str
    layouts: Mapping[str, Layout]
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    told: frozenset[str] = frozenset()
    tokens: tuple[str, ...] = ("cls",)
    optional_tokens: tuple[str, ...] = ()
    slots: str = "cls"
    heads: Mapping[int, int] = dataclasses.field(default_factory=lambda: HEADS)
    projectors: frozenset[str] = frozenset()
    decoder: Any = None
    adjust: Callable[[Arrays, dict[str, Any], Options], dict[str, Any]] = _as_read
    preprocessing: Preprocessing | None = None

    def layout(self, name: str) -> Layout:
        """The layout of that name. Raises `JaxpartError` if the family has none."""
        if name not in self.layouts:
            raise JaxpartError(
                f"there is no {name!r} layout of {self.name}; choose from {', '.join(self.layouts)}"
            )
        return self.layouts[name]


def shape(arrays: Arrays, name: str, *axes: int) -> tuple[int, ...]:
    """Shape of an array that has as many axes as named, each of them not empty.

    Raises:
      JaxpartError: It is missing or has another number of axes.
    """
    if name not in arrays:
        raise JaxpartError(f"the array {name.replace('.weight', '')} is missing")
    found = tuple(arrays[name].shape)
    if math.prod(found) == 0 or (axes and len(found) not in axes):
        wanted = " or ".join(map(str, axes)) or "some"
        raise JaxpartError(f"{name} has the shape {list(found)[:8]}; {wanted} axes are expected")
    return found

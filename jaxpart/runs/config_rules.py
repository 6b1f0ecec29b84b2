"""What a field of a configuration may be, and how a value that it may not be is told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from jaxpart.errors import JaxpartError


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a field may be.

    Attributes:
      kind: A "whole" number, a finite "number", a "text", or a "switch" (True or False).
      low: The least number.
      high: The largest.
      above: All numbers are larger than this one.
      below: All are smaller than this one.
      choices: The texts there are; none: any.
      aliases: Other names for choices.
      prefix: Texts that begin with it are allowed beside the choices; "": none.
      many: Whether the field is a tuple of such values, each named once; it may be empty.
    """

    kind: Literal["whole", "number", "text", "switch"]
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    prefix: str = ""
    many: bool = False

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value, to follow the field's name; None if nothing is."""
        if not self.many:
            return None if self._allows(value) else f"is {value!r}; {self.advice()}"
        if not isinstance(value, (tuple, list)):
            return f"is {value!r}; give a tuple, as ({value!r},)"
        seen: dict[Any, Any] = {}
        for one in value:
            if not self._allows(one):
                return f"holds {one!r}; {self.advice()}"
            same = self.aliases.get(one, one)
            if same in seen:
                also = "" if one == seen[same] else f" (as {seen[same]!r} and {one!r})"
                return f"names {same!r} twice{also}; name it once"
            seen[same] = one
        return None

    def _allows(self, value: Any) -> bool:
        if self.kind == "switch":
            return isinstance(value, bool)
        if self.kind == "text":
            known = (*self.choices, *self.aliases)
            if not isinstance(value, str):
                return False
            return (
                not known or value in known or bool(self.prefix and value.startswith(self.prefix))
            )
        kinds = int if self.kind == "whole" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            return False
        return self.low <= value <= self.high and self.above < value < self.below

    def advice(self) -> str:
        """What to give, as the end of a message."""
        if self.kind == "switch":
            return "choose between True and False"
        if self.kind == "text":
            known = [one or "''" for one in (*self.choices, *self.aliases)]
            known += [f"{self.prefix}NAME"] if self.prefix else []
            return f"choose from {', '.join(known)}" if known else "give a text"
        said = [
            f"{word} {limit:.12g}"
            for word, limit in (
                ("at least", self.low),
                ("above", self.above),
                ("at most", self.high),
                ("below", self.below),
            )
            if math.isfinite(limit)
        ]
        what = "a whole number" if self.kind == "whole" else "a finite number"
        return f"give {', '.join([what, *([' and '.join(said)] if said else [])])}"


def fields_of(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a configuration by its dotted path, with its value."""
    for name in config:
        value = config[name]
        if isinstance(value, Mapping) or hasattr(value, "to_dict"):
            yield from fields_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def check_fields(config: Any, rules: Mapping[str, Rule]) -> None:
    """Checks every field that there is a rule for.

    Args:
      config: The configuration.
      rules: By the field's dotted path.

    Raises:
      JaxpartError: A field's value is not one that it may have.
    """
    for path, value in fields_of(config):
        fault = rules[path].fault(value) if path in rules else None
        if fault:
            raise JaxpartError(f"config.{path} {fault}")


_MOST = 10**9
COUNT = Rule("whole", low=1, high=_MOST)
COUNT_OR_NONE = Rule("whole", low=0, high=_MOST)
BATCH = Rule("whole", low=1, high=2**20)
EPOCHS = Rule("whole", low=1, high=10**5)
PIXELS = Rule("whole", low=0, high=4096)
SEED = Rule("whole", low=0, high=2**32 - 1)
POSITIVE = Rule("number", above=0)
NOT_NEGATIVE = Rule("number", low=0)
SWITCH = Rule("switch")
TEXT = Rule("text")
TEXTS = Rule("text", many=True)
"""Rules that many fields share."""


def one_of(*choices: str) -> Rule:
    """One of some texts."""
    return Rule("text", choices=choices)


def some_of(*choices: str) -> Rule:
    """A tuple of some of these texts."""
    return Rule("text", choices=choices, many=True)

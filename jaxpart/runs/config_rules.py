"""Rules for the values of configuration fields, and messages for values that break them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from jaxpart.errors import JaxpartError


@dataclasses.dataclass(frozen=True)
class Rule:
    """The allowed values of a field.

    Attributes:
      kind: A "whole" number, a finite "number", a "text", or a "switch" (True or False).
      low: Inclusive lower limit.
      high: Inclusive upper limit.
      above: Exclusive lower limit.
      below: Exclusive upper limit.
      choices: The allowed texts; empty: any.
      aliases: Other names for choices.
      prefix: Texts with this prefix are allowed besides the choices; "": none.
      many: Whether the field is a tuple of such values; it may be empty.
      length: Number of its values, which may then repeat; 0: any number. None: any number, no repetitions.
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
    length: int | None = None

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value, as a predicate; None if it is allowed."""
        if not self.many:
            return None if self._allows(value) else f"is {value!r}; {self.advice()}"
        if not isinstance(value, (tuple, list)):
            return f"is {value!r}; give a tuple, as ({value!r},)"
        if self.length and len(value) != self.length:
            return f"is {value!r}; give {self.length} values"
        seen: dict[Any, Any] = {}
        for item in value:
            if not self._allows(item):
                return f"holds {item!r}; {self.advice()}"
            name = self.aliases.get(item, item)
            if name in seen and self.length is None:
                also = "" if item == seen[name] else f" (as {seen[name]!r} and {item!r})"
                return f"names {name!r} twice{also}; name it once"
            seen[name] = item
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
        """The allowed values, as the end of a message."""
        if self.kind == "switch":
            return "choose between True and False"
        if self.kind == "text":
            known = [choice or "''" for choice in (*self.choices, *self.aliases)]
            known += [f"{self.prefix}NAME"] if self.prefix else []
            return f"choose from {', '.join(known)}" if known else "give a string"
        limits = [
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
        return f"give {', '.join([what, *([' and '.join(limits)] if limits else [])])}"


class Field(NamedTuple):
    """A field of a configuration.

    Attributes:
      rule: Its rule; None if it is checked elsewhere.
      meaning: Its meaning; "" if it is unknown.
      default: Its default, where a configuration is made from fields.
    """

    rule: Rule | None = None
    meaning: str = ""
    default: Any = None

    @property
    def allowed(self) -> str:
        """The allowed values in words; "" without a rule."""
        return "" if self.rule is None else self.rule.advice().removeprefix("give ")


def fields_of(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted path, value) of every field of a configuration."""
    for name in config:
        value = config[name]
        if isinstance(value, Mapping) or hasattr(value, "to_dict"):
            yield from fields_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def check_fields(config: Any, field_of: Callable[[str], Field]) -> None:
    """Checks every field that has a rule.

    Args:
      config: The configuration.
      field_of: Returns the field with a dotted path.

    Raises:
      JaxpartError: The value of a field is not allowed.
    """
    for path, value in fields_of(config):
        rule = field_of(path).rule
        fault = rule and rule.fault(value)
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
"""Common rules."""


def one_of(*choices: str) -> Rule:
    """A rule that allows one of these texts."""
    return Rule("text", choices=choices)


def some_of(*choices: str) -> Rule:
    """A rule that allows a tuple of these texts."""
    return Rule("text", choices=choices, many=True)

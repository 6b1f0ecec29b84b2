"""The one mapping engine: a table of rules takes checkpoint keys to Flax paths, strict both ways."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Rule:
    """One or several source arrays become one Flax array.

    Attributes:
      source: Checkpoint keys; "{i}" stands for a number, the same in all of them.
      target: Dotted Flax path, with the same "{i}".
      transform: Makes the Flax array of the source arrays, in order.
    """

    source: tuple[str, ...]
    target: str
    transform: Callable[..., np.ndarray]


@dataclasses.dataclass(frozen=True)
class Ignore:
    """Keys that are left out on purpose: a shell-style pattern, and why."""

    pattern: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """A match of a rule."""

    sources: tuple[str, ...]
    target: str
    transform: Callable[..., np.ndarray]


@dataclasses.dataclass(frozen=True)
class Match:
    """What the rules make of a checkpoint.

    Attributes:
      entries: Every array to be written.
      ignored: Reason by key, of all keys left out.
      faults: What does not fit, in sentences; empty if the checkpoint is fully accounted for.
    """

    entries: tuple[Entry, ...]
    ignored: Mapping[str, str]
    faults: tuple[str, ...]


def match(
    rules: Sequence[Rule],
    ignores: Sequence[Ignore],
    names: Mapping[str, str],
    targets: Iterable[str],
) -> Match:
    """Accounts for every checkpoint key and every Flax array.

    Args:
      rules: The mapping table.
      ignores: What may be left out; a rule goes first.
      names: The rules' name of every key of the checkpoint → the key itself, in which all is told.
      targets: Dotted paths of all arrays of the Flax module.
    """
    entries = [entry for rule in rules for entry in _matches(rule, names)]
    faults: list[str] = []
    used: dict[str, str] = {}
    filled: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        for key in entry.sources:
            if key in used:
                faults.append(f"{key} is claimed for both {used[key]} and {entry.target}")
            used[key] = entry.target
        if entry.target in filled:
            faults.append(
                f"{entry.target} is filled by both {filled[entry.target]} and {entry.sources}"
            )
        filled[entry.target] = entry.sources
    ignored = {}
    for name, key in names.items():
        if key in used:
            continue
        reason = next((i.reason for i in ignores if fnmatch.fnmatchcase(name, i.pattern)), None)
        if reason is None:
            faults.append(f"{key} is not known to this family")
        else:
            ignored[key] = reason
    targets = set(targets)
    faults += [f"{target} is filled by nothing" for target in sorted(targets - set(filled))]
    faults += [f"{t} is not part of the encoder" for t in sorted(set(filled) - targets)]
    return Match(tuple(entries), ignored, tuple(faults))


def _matches(rule: Rule, names: Mapping[str, str]) -> list[Entry]:
    pattern = re.compile(re.escape(rule.source[0]).replace(r"\{i\}", r"(\d+)"))
    entries = []
    for name in names:
        found = pattern.fullmatch(name)
        if found:
            index = found.group(1) if found.groups() else ""
            sources = tuple(source.replace("{i}", index) for source in rule.source)
            if names.keys() >= set(sources):
                keys = tuple(names[source] for source in sources)
                entries.append(Entry(keys, rule.target.replace("{i}", index), rule.transform))
    return entries


def read_arrays(
    entries: Sequence[Entry],
    values: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    release: Callable[[], None] = lambda: None,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[dict[str, jax.Array], list[str]]:
    """Makes the Flax arrays, as float32 copies; calls `release` after each, and `advance`.

    Returns:
      The arrays by dotted path, and a sentence for every source that is no array of numbers or whose
      shape does not fit.
    """
    arrays, faults = {}, []
    for entry in entries:
        advance(1)
        sources = [values[key] for key in entry.sources]
        named = " + ".join(
            f"{k} {list(getattr(v, 'shape', ())) or type(v).__name__}"
            for k, v in zip(entry.sources, sources, strict=True)
        )
        try:
            array = jnp.array(np.asarray(entry.transform(*sources), np.float32))
        except (TypeError, ValueError, AttributeError, IndexError):
            faults.append(f"{named} cannot become {entry.target}")
            continue
        if array.shape != shapes[entry.target]:
            wanted = list(shapes[entry.target])
            faults.append(f"{named} gives {list(array.shape)}, but {entry.target} is {wanted}")
        arrays[entry.target] = array
        release()
    return arrays, faults

"""Builds the Flax modules' arrays: joins parts, permutes axes, copies values as float32.

One of our arrays may be built from:

- q, k, v, or q and kv: rows of one matrix, or of one bias; gate, value: likewise;
- magnitude, direction: weight norm, g · v / ‖v‖ of each row;
- mask: which values of a bias are used;
- transposed: a matrix stored transposed;
- the tokens before the patches, by name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from convert.names import split_part
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.errors import JaxpartError, printable

_ROWS = (("q", "k", "v"), ("q", "kv"), ("gate", "value"))
_WEIGHT_NORM = ("magnitude", "direction")
_TORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array of the Flax modules and its sources.

    Attributes:
      target: Its dotted path.
      shape: Its shape.
      parts: Our name for the part that each source provides, in order.
      keys: The checkpoint's keys of the sources.
      sources: The arrays themselves.
      registers: (index, number) of tokens without positions, which become zeros.
    """

    target: str
    shape: tuple[int, ...]
    parts: tuple[str, ...]
    keys: tuple[str, ...]
    sources: tuple[Any, ...]
    registers: tuple[int, int] = (0, 0)

    def fault(self) -> str:
        """A message if the shapes do not fit, else ""."""
        try:
            shape = self._flax_shape(self._joined_shape())
        except (ValueError, IndexError):
            shape = None
        if shape == self.shape:
            return ""
        named = " + ".join(
            f"{printable(key)} {list(source.shape)[:6]}"
            for key, source in zip(self.keys, self.sources, strict=True)
        )
        return f"{named} does not fit {self.target} {list(self.shape)}"

    def _joined_shape(self) -> tuple[int, ...]:
        shapes = [tuple(source.shape) for source in self.sources]
        if self.parts == _WEIGHT_NORM:
            rows = math.prod(shapes[0])
            return shapes[1] if len(shapes[1]) == 2 and rows == shapes[1][0] else ()
        if "mask" in self.parts:
            return shapes[0] if shapes[0] == shapes[1] else ()
        if self.target in ("prefix_tokens", "positions"):
            tokens = sum(math.prod(shape[:-1]) for shape in shapes) + self.registers[1]
            return tokens, shapes[0][-1]
        if len(shapes) > 1:
            return sum(shape[0] for shape in shapes), *shapes[0][1:]
        return shapes[0][::-1] if self.parts == ("transposed",) else shapes[0]

    def _flax_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.target.endswith(".kernel"):
            if len(shape) == 4:
                out, channels, height, width = shape
                flat = len(self.shape) == 2
                return (height * width * channels, out) if flat else (height, width, channels, out)
            return shape[::-1]
        lead = len(shape) - len(self.shape)
        return shape[lead:] if lead > 0 and set(shape[:lead]) == {1} else shape

    def read(self) -> np.ndarray:
        """The array, as a float32 copy.

        Raises:
          JaxpartError: A value is not finite, or the numbers are not real ones.
        """
        for part, key, source in zip(self.parts, self.keys, self.sources, strict=True):
            if part != "mask" and source.dtype.kind in "biuc":
                raise JaxpartError(
                    f"{printable(key)} holds {source.dtype} numbers, perhaps quantised weights whose scale "
                    f"is unknown; save them in floating point"
                )
        try:
            array = self._to_flax(self._joined([np.asarray(source) for source in self.sources]))
            with np.errstate(over="ignore", invalid="ignore"):
                array = np.array(array, np.float32, order="C").reshape(self.shape)
        except (TypeError, ValueError):
            kinds = ", ".join(str(source.dtype) for source in self.sources)
            raise JaxpartError(
                f"{printable(self.keys[0])} ({printable(kinds)}) cannot become {self.target}"
            ) from None
        if not np.isfinite(array).all():
            raise JaxpartError(
                f"{printable(' + '.join(self.keys))} has values that are not finite (NaN or infinite)"
            )
        return array

    def _joined(self, sources: list[np.ndarray]) -> np.ndarray:
        if self.parts == _WEIGHT_NORM:
            magnitude, direction = (source.astype(np.float64) for source in sources)
            norm = np.linalg.norm(direction, axis=1, keepdims=True)
            with np.errstate(divide="ignore", invalid="ignore"):
                return magnitude.reshape(-1, 1) * direction / norm
        if "mask" in self.parts:
            return np.where(np.nan_to_num(sources[1].astype(np.float32)) == 0, 0, sources[0])
        if self.target in ("prefix_tokens", "positions"):
            tokens = np.concatenate([source.reshape(-1, source.shape[-1]) for source in sources])
            index, number = self.registers
            return np.insert(tokens, [index] * number, 0, axis=0)
        if len(sources) > 1:
            return np.concatenate(sources)
        return sources[0].T if self.parts == ("transposed",) else sources[0]

    def _to_flax(self, array: np.ndarray) -> np.ndarray:
        if self.target.endswith(".kernel"):
            return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        return array


@dataclasses.dataclass(frozen=True)
class Match:
    """How the checkpoint's arrays map to ours.

    Attributes:
      entries: Every array of the Flax modules that can be built.
      unused: Keys, by our name, of arrays that are not used.
      faults: Messages about missing, duplicate or misshapen arrays.
    """

    entries: tuple[Entry, ...]
    unused: Mapping[str, str]
    faults: tuple[str, ...]


def match(
    arrays: Mapping[str, Any],
    keys: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    config: ViTConfig,
) -> Match:
    """Finds the sources of each array of the Flax modules."""
    parts_by_name: dict[str, dict[str, str]] = {}
    for name in arrays:
        full_name, part = split_part(name)
        parts_by_name.setdefault(full_name, {})[part] = name
    unused, entries, faults = dict(keys), [], []
    for target, shape in shapes.items():
        full_name, part_name = torch_name(target)
        parts = _choose(parts_by_name.get(full_name, {}), part_name, config)
        names = [parts_by_name[full_name][part] for part in parts]
        if not names:
            available = [
                printable(keys[left_over])
                for left_over in parts_by_name.get(full_name, {}).values()
            ]
            if available and not part_name:
                faults.append(f"{target} cannot be made of {' and '.join(available)} alone")
                for name in parts_by_name[full_name].values():
                    unused.pop(name, None)
            else:
                faults.append(f"{target} has no source array")
            continue
        sources = tuple(arrays[name] for name in names)
        entry = Entry(
            target,
            tuple(shape),
            tuple(parts),
            tuple(keys[name] for name in names),
            sources,
            _registers(target, shape, sources, config),
        )
        entries.append(entry)
        faults += filter(None, [entry.fault()])
        for name in names:
            unused.pop(name, None)
    return Match(tuple(entries), unused, tuple(faults))


def torch_name(target: str) -> tuple[str, str]:
    """Our PyTorch-style name for a Flax path, and the part of it that is meant ("": the whole array)."""
    module, _, leaf = target.rpartition(".")
    if module.endswith("attention") and leaf in ("q_bias", "v_bias"):
        return f"{module}.qkv.bias", leaf[0]
    return f"{module}.{_TORCH_LEAVES[leaf]}" if leaf in _TORCH_LEAVES else target, ""


def _choose(parts: Mapping[str, str], part_name: str, config: ViTConfig) -> Sequence[str]:
    """The parts that form the array, in order; empty if some are missing."""
    if part_name:
        return [part_name] if part_name in parts else []
    if set(parts) == {"", "mask"}:
        return ["", "mask"]
    if "" in parts:
        return [""]
    for names in (*_ROWS, _WEIGHT_NORM):
        if set(parts) == set(names):
            return names
    if len(parts) == 1 and not parts.keys() & {"q", "k", "v", "gate", *_WEIGHT_NORM}:
        return list(parts)  # the array itself, stored differently or under a gated MLP's name
    tokens = list(token_parts(config.prefix))
    return tokens if set(parts) == set(tokens) else []


def token_parts(prefix: Sequence[str]) -> Iterator[str]:
    """Parts of the tokens before the patches, in order; registers are stored in one array."""
    names = ["registers" if name.startswith("register") else name for name in prefix]
    yield from dict.fromkeys(name.rstrip("0123456789") for name in names)


def _registers(
    target: str, shape: Sequence[int], sources: Sequence[Any], config: ViTConfig
) -> tuple[int, int]:
    """(index, number) of registers that have no stored position."""
    number = sum(name.startswith("register") for name in config.prefix)
    if target != "positions" or not number:
        return 0, 0
    stored = sum(math.prod(source.shape[:-1]) for source in sources)
    return len(config.prefix) - number, number if stored == shape[0] - number else 0

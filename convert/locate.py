"""Finds the encoder in a file, within training scripts' containers and name prefixes.

Containers ("state_dict", "teacher") and wrappers ("module.", "backbone.") are treated alike, as prefixes of
an array's dotted name. The encoder is recognised by its patch embedding, which every ViT has exactly once.
Arrays outside the chosen location are ignored; every array inside must be accounted for.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from convert.family import Layout
from convert.options import Options
from jaxpart.errors import JaxpartError, printable
from jaxpart.io.tensor_files import flatten

_WRAPPER = re.compile(
    "backbone|encoder|image_encoder|img|model|model_state|model_state_dict|module|net|network|opt|params|"
    "state_dict|target|trunk|vision_encoder|vision_tower|visual|vit|weights"
)
"""Prefixes that are always stripped: they say nothing about which network it is."""

_INSIDE = re.compile(
    r"(?:^|(?<=\.))"
    r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
"""Inserted anywhere in names by torch.compile, FSDP and activation checkpointing."""

_CHUNKED = re.compile(r"(?P<list>(?:.*\.)?blocks)\.(?P<chunk>\d+)\.(?P<block>\d+)\.(?P<rest>.+)")
_SCANNED = re.compile(r"(?P<list>(?:.*\.)?encoderblock)\.(?P<rest>[^\d.][^.]*(\..+)?)")


SIBLING = "../"
"""Prefixes of the encoder's siblings, if the encoder has a prefix of its own."""


@dataclasses.dataclass(frozen=True)
class Location:
    """Location of the chosen encoder.

    Attributes:
      network: Prefix of its network's keys in the file, container included: "teacher." or "".
      encoder: Prefix of the encoder's keys below that: "backbone." or "".
      container: The dictionary of the file that holds the network, as dotted keys; "" for the file.
    """

    network: str = ""
    encoder: str = ""
    container: str = ""

    @property
    def prefix(self) -> str:
        """Prefix of the encoder's keys in the file."""
        return self.network + self.encoder


@dataclasses.dataclass(frozen=True)
class Network:
    """The arrays of the chosen network.

    Attributes:
      location: Where it lies in the file.
      arrays: By name without the location's prefix, in the layout's spelling.
      keys: The file's key for each of them.
      nested: Names of arrays in nested dictionaries, deeper than the patch embedding.
      other_keys: Other top-level keys of the file.
      inside: Wrappers that were stripped from within names.
    """

    location: Location
    arrays: Mapping[str, Any]
    keys: Mapping[str, str]
    nested: frozenset[str]
    other_keys: tuple[str, ...]
    inside: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Flat:
    """The arrays of a file."""

    contents: dict[Any, Any]
    arrays: Mapping[str, Any]
    keys: Mapping[str, str]


def flat_arrays(contents: Any) -> Flat:
    """Every array of a file. Raises `JaxpartError` if two of them have the same key."""
    if not isinstance(contents, dict):
        raise JaxpartError(f"it holds a {type(contents).__name__}, not a dictionary of tensors")
    arrays: dict[str, Any] = {}
    for key, value in flatten(contents):
        if not isinstance(value, np.ndarray):
            continue
        if key in arrays:
            raise JaxpartError(
                f"two arrays in it are called {printable(key)}, one of them in a nested dictionary; "
                "it is unclear which is meant"
            )
        arrays[key] = value
    keys = {_INSIDE.sub("", key): key for key in arrays}
    if len(keys) < len(arrays):
        raise JaxpartError("two arrays in it differ only in the prefixes of their names")
    return Flat(contents, arrays, keys)


def find_network(
    flat: Flat, layout: Layout, options: Options, networks: tuple[str, ...] = ()
) -> Network:
    """The network chosen by the options, the releases or the names themselves.

    Raises:
      JaxpartError: There is none or more than one, or two of its arrays have the same name.
    """
    location = _choose(flat, layout, options, networks)
    arrays: dict[str, Any] = {}
    keys: dict[str, str] = {}
    for name, key in flat.keys.items():
        if not name.startswith(location.network):
            continue
        relative = name[len(location.network) :]
        if relative.startswith(location.encoder):
            relative = layout.names.plain(relative[len(location.encoder) :])
        else:
            relative = f"{SIBLING}{relative}"
        if relative in keys:
            raise JaxpartError(
                f"both {printable(keys[relative])} and {printable(key)} map to {printable(relative)}"
            )
        arrays[relative], keys[relative] = flat.arrays[key], key
    direct = _direct(flat.contents, location)
    nested = frozenset(name for name, key in keys.items() if direct and key not in direct)
    top = {key.partition(".")[0] for key in keys.values()}
    other_keys = tuple(str(key) for key in flat.contents if str(key).partition(".")[0] not in top)
    inside = tuple(dict.fromkeys(word for key in flat.arrays for word in _INSIDE.findall(key)))
    arrays, keys = _renumbered(*_unscanned(arrays, keys, layout))
    return Network(location, arrays, keys, nested, other_keys, inside)


def _choose(flat: Flat, layout: Layout, options: Options, networks: tuple[str, ...]) -> Location:
    contents = flat.contents
    locations = sorted(set(_locations(flat, layout)), key=lambda location: location.prefix)
    if options.checkpoint_key:
        key = f"{options.checkpoint_key}."
        locations = [location for location in locations if location.prefix.startswith(key)]
    if options.prefix is not None:
        prefix = options.prefix
        prefix += "." if prefix and prefix[-1] not in "./" else ""
        fits = [p for p in locations if prefix in (p.prefix, p.network, *_below_container(p))]
        if not fits:
            raise JaxpartError(
                f"no encoder has the --prefix {printable(prefix)}{_others(locations, contents)}"
            )
        return fits[0]
    ranked: dict[int, list[Location]] = {}
    for location in locations:
        rank = _rank(location, networks, options)
        if rank is not None:
            ranked.setdefault(rank, []).append(location)
    best = ranked[min(ranked)] if ranked else []
    if len(best) == 1:
        return best[0]
    if best:
        raise JaxpartError(f"it holds several encoders{_others(best, contents)}")
    if locations:
        raise JaxpartError(
            f"its encoder has a prefix that is not stripped automatically{_others(locations, contents)}"
        )
    raise JaxpartError(f"no encoder was found in it{_others(locations, contents)}")


def _below_container(location: Location) -> tuple[str, ...]:
    lead = f"{location.container}." if location.container else ""
    return location.prefix.removeprefix(lead), location.network.removeprefix(lead)


def _others(locations: list[Location], contents: Any) -> str:
    """Lists what was found instead, and the option that selects it."""
    if locations:
        options = []
        for location in locations[:4]:
            key = f"--checkpoint-key {printable(location.container)}" if location.container else ""
            rest = _below_container(location)[0]
            options.append(f"{key} --prefix {printable(rest)}".strip() if rest else key)
        if not any(options):
            return "; its names have no prefix, leave the option out"
        advice = "pass" if len(locations) == 1 else "say which:"
        return f"; {advice} {' or '.join(filter(None, options))}"
    top = ", ".join(printable(str(key), 24) for key in list(contents)[:6]) or "nothing"
    return f" (its keys: {top}{', …' if len(contents) > 6 else ''})"


def _locations(flat: Flat, layout: Layout) -> Iterator[Location]:
    leaf = "kernel" if layout.names.flax else "weight"
    stems = tuple(
        f"{stem}.{leaf}"
        for stem in layout.names.theirs_of("stem.projection", "stem.convolutions.0")
    )
    for name, key in flat.keys.items():
        plain = name.replace("/", ".") if layout.names.flax else name
        if not plain.endswith(stems):
            continue
        stem = next((s for s in stems if plain == s or plain.endswith(f".{s}")), None)
        if stem is None:
            continue
        prefix = name[: len(name) - len(stem)]
        container = _container(flat.contents, key)
        for encoder in sorted(layout.encoder, key=len, reverse=True):
            if prefix == encoder or prefix.endswith(f".{encoder}") or not encoder:
                yield Location(prefix[: len(prefix) - len(encoder)], encoder, container)
                break


def _container(contents: Any, name: str) -> str:
    """Keys of the nested dictionaries that lead to an array, dotted."""
    path: list[str] = []
    while isinstance(contents, dict) and name not in contents:
        keys = (k for k in contents if name.startswith(f"{k}.") and isinstance(contents[k], dict))
        key = next(keys, None)
        if key is None:
            break
        path.append(str(key))
        contents, name = contents[key], name[len(str(key)) + 1 :]
    return ".".join(path)


def _rank(location: Location, networks: tuple[str, ...], options: Options) -> int | None:
    """Rank of a location, lower is better; None if only an option can select it."""
    words = [word for word in re.split(r"[./]", location.network) if word]
    if options.checkpoint_key:
        words = words[len(options.checkpoint_key.split(".")) :]
    rank = len(networks)
    if words and words[0] in networks:
        rank = networks.index(words.pop(0))
    return rank if all(map(_WRAPPER.fullmatch, words)) else None


def _direct(contents: Any, location: Location) -> set[str]:
    """Keys of the arrays in the same dictionary as the encoder's patch embedding."""
    for key in location.container.split(".") if location.container else ():
        contents = contents.get(key, {}) if isinstance(contents, dict) else {}
    lead = f"{location.container}." if location.container else ""
    return {f"{lead}{key}" for key, value in contents.items() if isinstance(value, np.ndarray)}


def _unscanned(
    arrays: dict[str, Any], keys: dict[str, str], layout: Layout
) -> tuple[dict[str, Any], dict[str, str]]:
    """Splits arrays of all blocks, stacked along their first axis, into each block's."""
    if not layout.names.flax:
        return arrays, keys
    split: dict[str, Any] = {}
    split_keys: dict[str, str] = {}
    for name, array in arrays.items():
        scanned = _SCANNED.fullmatch(name)
        if scanned is None or array.ndim < 2:
            split[name], split_keys[name] = array, keys[name]
            continue
        for i in range(min(len(array), 1000)):
            new = f"{scanned['list']}.{i}.{scanned['rest']}"
            split[new], split_keys[new] = array[i], keys[name]
    return split, split_keys


def _renumbered(
    arrays: dict[str, Any], keys: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Renumbers blocks in chunks (`blocks.1.3.norm1`, FSDP) consecutively."""
    matches = {name: match for name in arrays if (match := _CHUNKED.fullmatch(name))}
    pairs = sorted({(int(m["chunk"]), int(m["block"])) for m in matches.values()})
    if not pairs or len(matches) < sum(name.startswith("blocks.") for name in arrays):
        return arrays, keys
    numbers = {pair: i for i, pair in enumerate(pairs)}
    restarts = all((chunk, 0) in numbers for chunk, _ in pairs)
    if not restarts and [block for _, block in pairs] != list(range(len(pairs))):
        raise JaxpartError("its blocks are in chunks whose numbers have gaps")
    renamed = {
        name: f"{m['list']}.{numbers[int(m['chunk']), int(m['block'])]}.{m['rest']}"
        for name, m in matches.items()
    }
    return (
        {renamed.get(name, name): array for name, array in arrays.items()},
        {renamed.get(name, name): key for name, key in keys.items()},
    )

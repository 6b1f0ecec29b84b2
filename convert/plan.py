"""Plans a conversion: accounts for every array before any of them is read."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from convert import decoders
from convert.architecture import REGISTERS, read_config
from convert.arrays import Entry, match
from convert.family import Family, Ignore, Layout
from convert.locate import SIBLING, Flat, Network, find_network, flat_arrays
from convert.options import Options
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.loading import shapes_of
from jaxpart.errors import JaxpartError, printable
from jaxpart.pretraining.decoders import DecoderConfig, decoder_shapes

_CLASSIFIER = re.compile(
    r"(head|head_dist|fc|classifier|linear|linear_head|projector\.heads)(\.\d+)?"
    r"\.(weight|bias|running_mean|running_var)"
)
_EVERYWHERE = (Ignore("*num_batches_tracked", "a counter that BatchNorm does not use here"),)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan of a conversion.

    Attributes:
      family: The family that it is converted as.
      network: The chosen arrays.
      config: Architecture at the checkpoint's training size.
      entries: The sources of each array. Paths of the decoder begin with "decoder.".
      ignored: Reason for each dropped key.
      decoder: Architecture of the decoder, if that is converted too.
    """

    family: Family
    network: Network
    config: ViTConfig
    entries: tuple[Entry, ...]
    ignored: Mapping[str, str]
    decoder: DecoderConfig | None = None


class Faults(JaxpartError):
    """A checkpoint does not fit; `faults` holds every reason, the message the first few."""

    def __init__(self, faults: list[str]) -> None:
        """Joins the reasons into one message."""
        self.faults = faults
        message = ""
        for number, fault in enumerate(faults):
            if number and len(message) + len(fault) > 150:
                message += f"; and {len(faults) - number} more (--dry-run lists all)"
                break
            message += f"; {fault}" if message else fault
        super().__init__(f"it does not fit ({len(faults)}): {message}")


def make_plan(family: Family, contents: Any, options: Options) -> Plan:
    """Accounts for every array of the chosen network in a checkpoint's contents or `Flat`.

    Raises:
      Faults: Arrays are missing, unknown or misshapen; one message for all.
      JaxpartError: It is not a checkpoint of this family.
    """
    layout = _with_tokens(family.layout(options.layout), options)
    decoder = decoders.decoder_of(family, options) if options.with_decoder else None
    if decoder is not None:
        layout = dataclasses.replace(layout, names=layout.names + decoder.names)
    releases = family.layouts.get("original", layout)
    flat = contents if isinstance(contents, Flat) else flat_arrays(contents)
    network = find_network(flat, layout, options, layout.networks or releases.networks)
    ignored = dict(_ignored_by_user(network, options))
    arrays: dict[str, Any] = {}
    keys: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for name, key in network.keys.items():
        if key in ignored:
            continue
        ours = next(filter(None, map(layout.names.ours, _spellings(name, network))), None)
        if ours is None or (ours == REGISTERS and network.arrays[name].size == 0):
            unknown[name] = key
        elif ours in arrays:
            raise JaxpartError(f"both {printable(keys[ours])} and {printable(key)} map to {ours}")
        else:
            array = network.arrays[name]
            arrays[ours] = _as_torch(ours, array) if layout.names.flax else array
            keys[ours] = key
    config = read_config(arrays, family, layout, options)
    shapes = dict(shapes_of(config))
    decoder_config = None
    if decoder is not None:
        decoder_config = decoder.architecture(arrays, config, options)
        decoder_paths = decoder_shapes(config, decoder_config)
        shapes |= {decoders.TARGET + path: shape for path, shape in decoder_paths.items()}
    matched = match(arrays, keys, shapes, config)
    unexplained = []
    rules = [*_EVERYWHERE, *(i for i in layout.ignored if not decoder or i not in decoder.replaces)]
    names = {key: name for name, key in network.keys.items()}
    leftover = [(name, key, "") for name, key in unknown.items()]
    leftover += [(names[key], key, ours) for ours, key in matched.unused.items()]
    for name, key, ours in leftover:
        reason = _reason(_spellings(name, network), ours, rules, config)
        if reason is None and name in network.nested:
            reason = "in a different dictionary from the network"
        if reason is None:
            unexplained.append(
                f"{printable(key)} is not known to this family (--ignore leaves it out)"
            )
        else:
            ignored[key] = reason
    if unexplained or matched.faults:
        raise Faults([*unexplained, *matched.faults])
    return Plan(family, network, config, matched.entries, ignored, decoder_config)


def _with_tokens(layout: Layout, options: Options) -> Layout:
    """The layout with the user's token names."""
    lines = []
    for name, _ in options.tokens:
        for theirs in (f"{name}_token", f"{name}_tokens", name):
            if layout.names.ours(theirs) is None:
                lines.append(f"{theirs} prefix_tokens:{name}")
    return dataclasses.replace(layout, names=layout.names + "\n".join(lines)) if lines else layout


def _ignored_by_user(network: Network, options: Options) -> Iterator[tuple[str, str]]:
    for pattern in options.ignore:
        matched = [
            key
            for name, key in network.keys.items()
            if fnmatch.fnmatchcase(key, pattern) or fnmatch.fnmatchcase(name, pattern)
        ]
        if not matched:
            raise JaxpartError(f"--ignore {printable(pattern)} matches no key of it")
        yield from ((key, f"--ignore {pattern}") for key in matched)


def _spellings(name: str, network: Network) -> tuple[str, ...]:
    """Spellings of a name in tables where the encoder has a prefix and this array does not."""
    return (name,) if network.location.encoder else (name, f"{SIBLING}{name}")


def _reason(
    names: tuple[str, ...], ours: str, rules: list[Ignore], config: ViTConfig
) -> str | None:
    """The reason why an array may be dropped, or None."""
    for rule in rules:
        if any(fnmatch.fnmatchcase(name, rule.pattern) for name in names):
            return rule.reason
    plain = (ours.partition(":")[0] or names[0]).removeprefix(SIBLING)
    unread = config.projector is None or config.projector.kind == "attention_pool" or not ours
    if unread and _CLASSIFIER.fullmatch(plain):
        return "a classifier: the arrays do not show which token it reads"
    return None


def _as_torch(ours: str, array: Any) -> Any:
    """A Flax array in PyTorch's layout: outputs first, heads merged."""
    base = ours.partition(":")[0]
    if base.endswith(".bias") or array.ndim < 2:
        return array.reshape(-1) if base.endswith(".bias") else array
    if not base.endswith(".weight"):
        return array
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    if array.ndim == 3 and base.endswith(".out.weight"):  # [head, channel, width]
        return array.reshape(-1, array.shape[-1]).T
    return array.reshape(len(array), math.prod(array.shape[1:])).T  # [width, head, channel]

"""From a checkpoint to an encoder folder: open, choose, plan, read, resize, write."""

from __future__ import annotations

import collections
import dataclasses
import importlib.metadata
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from convert import decoders
from convert.families import FAMILIES, find_family
from convert.family import Family
from convert.hints import explain, hint, preprocessing_of
from convert.options import Options
from convert.plan import Faults, Plan, make_plan
from convert.sources import Stated, find_source
from jaxpart.encoders import positions
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.families import Preprocessing
from jaxpart.encoders.loading import write_encoder
from jaxpart.errors import JaxpartError, listed, printable
from jaxpart.io.files import path_of, remove_left, write_folder
from jaxpart.io.tensor_files import Checkpoint, open_checkpoint, shard_of
from jaxpart.pretraining.decoders import write_decoder
from jaxpart.runs.progress import Progress

_SLACK = 1 << 20


def convert(
    family: str | Family,
    checkpoint: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
    **options: Any,
) -> ViTConfig:
    """Converts a checkpoint to an encoder folder for `jaxpart.load_encoder`.

    Args:
      family: One of `convert.families.FAMILIES`, by name, or a family of your own; "auto" for the family
        that the source states.
      checkpoint: The file, the index of a sharded one, or another source, see `convert.sources`.
      out: New folder, written completely or not at all.
      say: Receives messages about what was chosen, dropped and assumed.
      progress: Shows progress.
      **options: Fields of `Options`.

    Returns:
      The encoder's architecture.

    Raises:
      JaxpartError: The file cannot be read or does not fit the family, or `out` cannot be written.
    """
    out, auto = path_of(out), family == "auto"
    if isinstance(family, str) and not auto:
        family = find_family(family)
    if not options.get("dry_run"):
        _check_out(out, bool(options.get("overwrite")))
    name = family.name if isinstance(family, Family) else None
    path, stated = find_source(str(checkpoint), name)
    if not isinstance(family, Family):
        family = find_family(_stated_family(stated, checkpoint, path, str(out)))
        say(f"family, as the checkpoint states: {family.name}")
    chosen = stated.completed(options)
    family.layout(chosen.layout)
    progress = progress or Progress(shown=False)
    with progress.bar(f"{family.name}: reading the checkpoint", None):
        source = open_checkpoint(path)
    if shard_of(source.path):
        raise JaxpartError(f"{checkpoint}: {shard_of(source.path)}")
    try:
        plan = make_plan(family, source.contents, chosen)
        stated.check(plan.config)
        _check_size(plan, source)
    except JaxpartError as error:
        if chosen.dry_run and isinstance(error, Faults):
            for fault in error.faults:
                say(f"fault: {fault}")
        raise explain(family, source.contents, chosen, str(checkpoint), str(out), error) from None
    arrays: dict[str, np.ndarray] = {}
    with progress.bar(f"{family.name}: converting arrays", len(plan.entries)) as advance:
        for entry in plan.entries:
            try:
                arrays[entry.target] = entry.read()
            except JaxpartError as error:
                raise JaxpartError(f"{source.path} as {family.name}: {error}") from None
            source.release()
            advance(1)
    for line in _mapping(plan) if chosen.dry_run else notes(plan, chosen):
        say(line)
    decoder_arrays = {
        path.removeprefix(decoders.TARGET): arrays.pop(path)
        for path in list(arrays)
        if path.startswith(decoders.TARGET)
    }
    config = plan.config
    if chosen.image_size is not None and chosen.image_size != config.image_size:
        config, arrays = resized(config, arrays, chosen.image_size)

    def write(folder: pathlib.Path) -> None:
        document = _about(source, plan, chosen, str(checkpoint))
        if plan.decoder is not None:
            document |= write_decoder(folder, plan.decoder, decoder_arrays)
        name = chosen.name or family.name
        write_encoder(folder, name, config, _preprocessing(family, chosen), arrays, document)

    if not chosen.dry_run:
        with progress.bar(f"{family.name}: writing", None):
            write_folder(out, write)
    return config


def resized(
    config: ViTConfig, arrays: Mapping[str, np.ndarray], image_size: tuple[int, int]
) -> tuple[ViTConfig, dict[str, np.ndarray]]:
    """An encoder with its positions interpolated to another image size by the family's rule."""
    target = dataclasses.replace(config, image_size=image_size)
    slots = len(config.prefix) if config.prefix_positions else 0
    new = dict(arrays)
    for path, array in arrays.items():
        if path == "positions":
            patches = positions.resize_positions(
                jnp.asarray(array[slots:]), config.grid, target.grid, config.position_resize
            )
            new[path] = np.concatenate([array[:slots], patches])
        elif path.endswith("relative_bias.table"):
            new[path] = np.asarray(
                positions.resize_relative_bias(jnp.asarray(array), config.grid, target.grid)
            )
    return target, new


def notes(plan: Plan, options: Options) -> list[str]:
    """Messages about what was chosen, dropped and assumed."""
    location, lines = plan.network.location, []
    prefixes = [location.prefix, *plan.network.inside]
    if any(prefixes):
        lines.append(
            f"name prefixes stripped: {', '.join(printable(word) for word in prefixes if word)}"
        )
    if plan.network.other_keys:
        lines.append(f"other entries, not converted: {_listed(plan.network.other_keys)}")
    by_reason: dict[str, list[str]] = collections.defaultdict(list)
    for key, reason in plan.ignored.items():
        by_reason[reason].append(key)
    lines += [f"left out: {_listed(keys)} ({printable(why)})" for why, keys in by_reason.items()]
    assumed = ", ".join(_assumed(plan, options))
    return [*lines, f"assumed, not stored in the checkpoint: {assumed}"]


def _assumed(plan: Plan, options: Options) -> list[str]:
    config, family = plan.config, plan.family
    assumed = []
    if options.num_heads is None and "num_heads" not in family.inferred:
        assumed.append(f"{config.num_heads} heads (by width {config.width}{_other_heads(plan)})")
    if options.grid is None and config.positions != "none":
        none = (
            f", none of {config.prefix[0]}" if config.prefix and not config.prefix_positions else ""
        )
        assumed.append(f"positions of {config.grid[0]} × {config.grid[1]} patches{none}")
    if options.layout == "timm" and config.projector and config.projector.kind == "classifier":
        assumed.append(f"a classifier of {'the mean patch' if config.pooled_norm else 'cls'}")
    if not family.heads:  # no release states it
        if options.epsilon is None:
            assumed.append(f"epsilon {config.norm_epsilon:g}")
        if options.activation is None:
            assumed.append(f"activation {config.activation}")
    if options.mean is None or options.std is None:
        pixels = _preprocessing(family, options)
        assumed.append(f"pixels of mean {pixels.mean[0]:.3g} and std {pixels.std[0]:.3g}")
    return assumed or ["nothing"]


def _other_heads(plan: Plan) -> str:
    """Families whose encoders of this width have a different number of heads."""
    others = [
        f"{family.name} has {heads}"
        for family in FAMILIES.values()
        if (heads := family.heads.get(plan.config.width)) not in (None, plan.config.num_heads)
        and "norm" not in family.fields
        and family.fields.get("positions") != "none"
    ]
    return f"; {', '.join(others)}" if others else ""


def _listed(names: Iterable[str]) -> str:
    return listed((printable(name, 40) for name in names), 4)


def _mapping(plan: Plan) -> list[str]:
    lines = [
        f"{' + '.join(map(printable, entry.keys))} -> {entry.target} {list(entry.shape)}"
        for entry in plan.entries
    ]
    return lines + [f"{printable(k)} -> ignored: {reason}" for k, reason in plan.ignored.items()]


def _check_size(plan: Plan, source: Checkpoint) -> None:
    """Raises `JaxpartError` if the arrays are far larger than the file because they share memory."""
    needed = sum(array.nbytes for entry in plan.entries for array in entry.sources)
    if needed > 2 * source.size + _SLACK:
        raise JaxpartError(
            f"its arrays need {needed} bytes of a file of {source.size}; they share memory, "
            "which an encoder's never do"
        )


def _preprocessing(family: Family, options: Options) -> Preprocessing:
    known = preprocessing_of(family)
    return Preprocessing(options.mean or known.mean, options.std or known.std)


def _stated_family(
    stated: Stated, checkpoint: str | pathlib.Path, path: pathlib.Path, out: str
) -> str:
    if stated.family is None:
        if not path.exists():
            raise JaxpartError(f"{checkpoint} does not exist; give the checkpoint")
        contents = open_checkpoint(path).contents
        suggestion = hint(FAMILIES["vit"], contents, Options(), str(checkpoint), out)
        raise JaxpartError(
            f"{checkpoint} does not state its family; name it instead of auto, one of "
            f"{', '.join(FAMILIES)}{f'; {suggestion}' if suggestion else ''}"
        )
    return stated.family


def _about(source: Checkpoint, plan: Plan, options: Options, address: str) -> dict[str, Any]:
    packages = ("jaxpart", "jax", "flax", "orbax-checkpoint", "numpy")
    location = plan.network.location
    in_hub = re.search(r"/models--[^/]+/snapshots/([^/]+)/", source.path.as_posix())
    return {
        "source": {
            "file": source.path.name,
            "address": address if address.startswith(("@", "hf:")) else None,
            "revision": in_hub[1] if in_hub else None,
            "sha256": source.sha256,
            "family": plan.family.name,
            "layout": options.layout,
            "checkpoint_key": location.container or None,
            "taken_off": [word for word in (location.prefix, *plan.network.inside) if word],
            "options": options.recorded(),
            "trained_at": list(plan.config.image_size),
            "assumed": _assumed(plan, options),
        },
        "versions": {
            "python": sys.version.split()[0],
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "mapping": {
            "mapped": [[*entry.keys, entry.target] for entry in plan.entries],
            "ignored": dict(plan.ignored),
            "beside": list(plan.network.other_keys)[:100],
        },
    }


def _check_out(out: pathlib.Path, overwrite: bool) -> None:
    remove_left(out.parent, out.name)
    if out.is_dir() and any(out.iterdir()):
        if not (out / "encoder.json").is_file():
            raise JaxpartError(f"{out} holds something other than an encoder; name another folder")
        if not overwrite:
            raise JaxpartError(f"{out} exists; name another folder or pass --overwrite")
    elif out.exists() and not out.is_dir():
        raise JaxpartError(f"{out} is a file; name a folder to create")

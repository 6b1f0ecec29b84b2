"""From a checkpoint file to an encoder folder: plan, map, resize, write."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from convert import decoders, rules
from convert.families import FAMILIES
from convert.families.base import Family, Layout, Options, Root
from jaxpart.encoders import positions
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.families import families
from jaxpart.encoders.loading import shapes_of, write_encoder
from jaxpart.errors import JaxpartError
from jaxpart.io.files import write_folder
from jaxpart.io.tensor_files import flatten, open_checkpoint
from jaxpart.pretraining.decoders import DecoderConfig, decoder_shapes, write_decoder
from jaxpart.runs.progress import Progress

_SHOWN_FAULTS = 20


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a checkpoint becomes an encoder.

    Attributes:
      root: Where its network lies.
      config: Architecture at the size that the checkpoint was trained at.
      match: Which key goes where; has no faults. Paths of the decoder begin with "decoder.".
      values: Everything in the file by dotted path.
      decoder: Architecture of what stands behind the encoder, if that is converted too.
    """

    root: Root
    config: ViTConfig
    match: rules.Match
    values: Mapping[str, Any]
    decoder: DecoderConfig | None = None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array to be filled."""
        return target_shapes(self.config, self.decoder)


def target_shapes(config: ViTConfig, decoder: DecoderConfig | None) -> dict[str, tuple[int, ...]]:
    """Shape of every array of an encoder and, below "decoder.", of its decoder."""
    shapes = dict(shapes_of(config))
    if decoder is not None:
        behind = decoder_shapes(config, decoder)
        shapes |= {decoders.TARGET + path: shape for path, shape in behind.items()}
    return shapes


def make_plan(
    family: Family, contents: Any, options: Options, checkpoint_key: str | None = None
) -> Plan:
    """Accounts for everything in a checkpoint.

    Raises:
      JaxpartError: Something is missing, unknown or does not fit; all of it in one message.
    """
    if not isinstance(contents, dict):
        raise JaxpartError(f"it holds a {type(contents).__name__}, not a dictionary of tensors")
    layout = family.layout(options.layout)
    root = _find_root(family, layout, contents, checkpoint_key)
    values = dict(flatten(contents))
    names = _names(layout, root, values)
    renamed = {name: layout.reorient(name, values[key]) for name, key in names.items()}
    values = {key: renamed[name] for name, key in names.items()}
    encoder = _below(renamed, root.path + root.encoder)
    projector = _below(renamed, root.path + root.projector) if root.projector else {}
    config = family.architecture(encoder, projector, options)
    config = dataclasses.replace(config, **layout.fields)
    encoder_rules, projector_rules = family.rules(config)
    table = _under(root.path + root.encoder, encoder_rules)
    table += _under(root.path + root.projector, projector_rules)
    others = {other.key for other in layout.roots if other.key not in ("", root.key)}
    ignores = [
        *(rules.Ignore(root.path + i.pattern, i.reason) for i in layout.ignored),
        *(layout.ignored if root.path else ()),
        *(rules.Ignore(f"{key}.*", f"the {key}; the {root.key} is converted") for key in others),
    ]
    decoder = None
    if options.with_decoder:
        if options.layout != "original":
            raise JaxpartError("decoders are converted from the original layout alone")
        below = _below(renamed, root.path)
        behind = decoders.decoder_of(family.name, below)
        decoder = behind.architecture(below, config, options)
        for rule in behind.rules(config, decoder):
            target = decoders.TARGET + rule.target
            table += _under(root.path, [dataclasses.replace(rule, target=target)])
        dropped = {root.path + pattern for pattern in behind.patterns} | set(behind.patterns)
        ignores = [ignore for ignore in ignores if ignore.pattern not in dropped]
    match = rules.match(table, ignores, names, target_shapes(config, decoder))
    if match.faults:
        raise JaxpartError(_listed("it does not fit", match.faults))
    return Plan(root, config, match, values, decoder)


def _find_root(
    family: Family, layout: Layout, contents: Mapping[str, Any], key: str | None
) -> Root:
    roots = layout.roots
    if key is not None:
        named = [root for root in roots if root.key == key]
        roots = tuple(named) or tuple(dataclasses.replace(root, key=key) for root in roots)
    for root in roots:
        network = contents.get(root.key) if root.key else contents
        if isinstance(network, dict) and any(
            layout.rename(str(name)) == root.encoder + family.sign for name in network
        ):
            return root
    looked = " or ".join(sorted({f"{root.path}{root.encoder}{family.sign}" for root in roots}))
    found = ", ".join(map(str, list(contents)[:8])) or "nothing"
    raise JaxpartError(f"no {family.name} encoder is in it: {looked} is missing (found: {found})")


def _names(layout: Layout, root: Root, keys: Iterable[str]) -> dict[str, str]:
    """The family's name of every key → the key. Raises `JaxpartError` if two come to one name."""
    names: dict[str, str] = {}
    for key in keys:
        name = key
        if key.startswith(root.path):
            name = root.path + layout.rename(key[len(root.path) :])
        if name in names:
            raise JaxpartError(f"both {names[name]} and {key} stand for {name}")
        names[name] = key
    return names


def _below(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key[len(prefix) :]: value for key, value in values.items() if key.startswith(prefix)}


def _under(prefix: str, table: list[rules.Rule]) -> list[rules.Rule]:
    return [
        dataclasses.replace(rule, source=tuple(prefix + key for key in rule.source))
        for rule in table
    ]


def _listed(what: str, faults: tuple[str, ...] | list[str]) -> str:
    more = len(faults) - _SHOWN_FAULTS
    lines = [*faults[:_SHOWN_FAULTS], *([f"and {more} more"] if more > 0 else [])]
    return f"{what} ({len(faults)}): " + "; ".join(lines)


def _fits(family: Family, layout: str, contents: Any) -> bool:
    """Whether a family's table accounts for the whole checkpoint, whatever its number of heads."""
    try:
        make_plan(family, contents, Options(num_heads=1, layout=layout))
    except JaxpartError:
        return False
    return True


def _looks_like(family: str, layout: str, contents: Any) -> str:
    """What a checkpoint that does not fit looks like, as the beginning of a sentence; else ""."""
    if _fits(FAMILIES[family], layout, contents):
        return ""
    own = [name for name in FAMILIES[family].layouts if _fits(FAMILIES[family], name, contents)]
    others: list[str] = []
    for other in (
        () if "original" in own else ("original", *(() if own else ("timm", "transformers")))
    ):
        fitting = [f.name for f in FAMILIES.values() if other in f.layouts and f.name != family]
        fitting = [name for name in fitting if _fits(FAMILIES[name], other, contents)]
        others = [name if other == layout else f"the {other} layout of {name}" for name in fitting]
        if others:
            break
    if not own:
        return f"this looks like {' or '.join(others)}: " if others else ""
    aside = f" (or like {' or '.join(others)})" if others else ""
    return f"this looks like the {own[0]} layout of {family}; pass --layout {own[0]}{aside}: "


def resized(
    config: ViTConfig, arrays: Mapping[str, jax.Array], image_size: tuple[int, int]
) -> tuple[ViTConfig, dict[str, jax.Array]]:
    """An encoder with its positions brought to another image size by the family's own rule."""
    target = dataclasses.replace(config, image_size=image_size)
    slots = len(config.prefix) if config.prefix_positions else 0
    new = dict(arrays)
    for path, array in arrays.items():
        if path == "positions":
            patches = positions.resize_positions(
                array[slots:], config.grid, target.grid, config.position_resize
            )
            new[path] = jnp.concatenate([array[:slots], patches])
        elif path.endswith("relative_bias.table"):
            new[path] = positions.resize_relative_bias(array, config.grid, target.grid)
    return target, new


def convert(
    family: str,
    checkpoint: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    layout: str = "original",
    checkpoint_key: str | None = None,
    num_heads: int | None = None,
    image_size: tuple[int, int] | None = None,
    with_decoder: bool = False,
    decoder_num_heads: int | None = None,
    allow_torch: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    log: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> ViTConfig:
    """Converts a PyTorch checkpoint into an encoder folder for `jaxpart.load_encoder`.

    Args:
      family: One of `convert.families.FAMILIES`.
      checkpoint: The released file.
      out: Folder to be made; it appears whole or not at all.
      layout: Whose names the file uses: "original", "timm" or "transformers"; never guessed.
      checkpoint_key: Which network of the file ("teacher", "student"), where it holds several.
      num_heads: Attention heads, where the family's table is not to be followed.
      image_size: (height, width) in pixels to make the encoder for; by default that of training.
      with_decoder: Whether what stands behind the encoder in pretraining is converted too, for
        `jaxpart.pretraining.decoders.load_decoder`.
      decoder_num_heads: Attention heads of MAE's decoder, where the table is not to be followed.
      allow_torch: Whether PyTorch may read files in its old format.
      overwrite: Whether an encoder in `out` may be replaced.
      dry_run: Show the mapping and write nothing.
      log: Takes lines about what is done.
      progress: Shows how far it is.

    Returns:
      The encoder's architecture.

    Raises:
      JaxpartError: The file cannot be read or does not fit the family, or `out` cannot be written.
    """
    if family not in FAMILIES:
        raise JaxpartError(f"there is no family {family!r}; choose among {', '.join(FAMILIES)}")
    FAMILIES[family].layout(layout)
    out = pathlib.Path(out)
    if not dry_run:
        _check_out(out, overwrite)
    progress = progress or Progress(shown=False)
    with progress.bar(f"{family}: reading the checkpoint", None):
        source = open_checkpoint(checkpoint, allow_torch=allow_torch)
    options = Options(num_heads, image_size, layout, with_decoder, decoder_num_heads)
    try:
        plan = make_plan(FAMILIES[family], source.contents, options, checkpoint_key)
    except JaxpartError as error:
        hint = _looks_like(family, layout, source.contents)
        raise JaxpartError(f"{source.path} as {family}: {hint}{error}") from None
    with progress.bar(f"{family}: converting arrays", len(plan.match.entries)) as advance:
        arrays, faults = rules.read_arrays(
            plan.match.entries, plan.values, plan.shapes(), source.release, advance
        )
    if faults:
        raise JaxpartError(_listed(f"{source.path} does not fit {family}", faults))
    for entry in plan.match.entries:
        shape = list(arrays[entry.target].shape)
        log(f"{' + '.join(entry.sources)} -> {entry.target} {shape}")
    for key, reason in plan.match.ignored.items():
        log(f"{key} -> ignored: {reason}")
    behind = {
        path.removeprefix(decoders.TARGET): arrays.pop(path)
        for path in list(arrays)
        if path.startswith(decoders.TARGET)
    }
    config = plan.config
    if image_size is not None and image_size != config.image_size:
        config, arrays = resized(config, arrays, image_size)

    def write(folder: pathlib.Path) -> None:
        about = _about(source, layout, plan)
        if plan.decoder is not None:
            about |= write_decoder(folder, plan.decoder, behind)
        write_encoder(folder, family, config, families()[family].preprocessing, arrays, about)

    if not dry_run:
        with progress.bar(f"{family}: writing", None):
            write_folder(out, write)
    return config


def _about(source: Any, layout: str, plan: Plan) -> dict[str, Any]:
    packages = ("jaxpart", "jax", "flax", "orbax-checkpoint", "numpy")
    return {
        "source": {
            "file": source.path.name,
            "sha256": source.sha256,
            "layout": layout,
            "checkpoint_key": plan.root.key or None,
            "trained_at": list(plan.config.image_size),
        },
        "versions": {
            "python": sys.version.split()[0],
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "mapping": {
            "mapped": [[*entry.sources, entry.target] for entry in plan.match.entries],
            "ignored": dict(plan.match.ignored),
        },
    }


def _check_out(out: pathlib.Path, overwrite: bool) -> None:
    if out.is_dir() and any(out.iterdir()):
        if not (out / "encoder.json").is_file():
            raise JaxpartError(f"{out} holds something else than an encoder; name another folder")
        if not overwrite:
            raise JaxpartError(f"{out} exists; name another folder or pass --overwrite")
    elif out.exists() and not out.is_dir():
        raise JaxpartError(f"{out} is a file; name a folder to be made")

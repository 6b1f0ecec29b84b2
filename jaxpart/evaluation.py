"""Evaluates one encoder: runs the tasks of a configuration and writes their results to a work directory."""

from __future__ import annotations

import contextlib
import json
import pathlib
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxpart import devices
from jaxpart import tasks as experiments
from jaxpart.config import part_config
from jaxpart.data.splits import trained_on
from jaxpart.encoders.callables import of_function
from jaxpart.encoders.configured import configured_encoder, placed
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.function import FunctionEncoder
from jaxpart.encoders.loading import describe
from jaxpart.encoders.precision import REFERENCE
from jaxpart.errors import JaxpartError, first_line
from jaxpart.features.table import FeatureTable
from jaxpart.io.files import path_of
from jaxpart.runs.config_checks import check_config
from jaxpart.runs.config_fields import field_of
from jaxpart.runs.paper import CHECKSUMS
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import VERSION, Row, read_rows
from jaxpart.runs.table import encoder_name, rules_line, sections_text
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.estimate import Estimate, announce, estimate
from jaxpart.tasks.fitting import fitted
from jaxpart.tasks.plans import Plan, carry_out

_CRITTERS = ("num_images", "image_size", "version")
"""Fields of `data` that apply only to critters."""


def evaluate(
    encoder: FrozenEncoder | Callable[[Any], Any] | str | pathlib.Path,
    *,
    tasks: Sequence[str] = ("retrieval",),
    data: Sequence[str] = ("critters",),
    root: str | pathlib.Path = "",
    image_size: int = 0,
    pixels: str = "uint8",
    version: str = "",
    options: Mapping[str, Any] | None = None,
    workdir: str | pathlib.Path | None = None,
    shown: bool = True,
) -> list[Row]:
    """Evaluates an encoder.

    If several processes share a run, call `jaxpart.devices.start` in each before anything else uses JAX.

    Args:
      encoder: From `load_encoder`, or the folder of one; a function of images in JAX; a
        `torch.nn.Module`, or another PyTorch function as a `TorchFunction` (see
        `jaxpart.encoders.function`); or features computed elsewhere, from
        `jaxpart.features.table.read_table`.
      tasks: Names from `jaxpart.tasks.TASKS`. Tasks that need outputs which a function does not return
        are skipped, with a message on standard error.
      data: Data sets of retrieval and classification; segmentation and correspondence name theirs in
        their options.
      root: The folder that holds the data sets; not needed for critters.
      image_size: For a function: side in pixels of the images that it receives.
      pixels: For a function: "uint8", or float32 normalised as "imagenet", "clip" or "half".
      version: For a function: names its weights and code; its features are cached under it.
      options: Fields of the configuration by dotted name, {"retrieval.exclude_self": True}; those of
        `encoder` only for a folder.
      workdir: Folder of the run, resumed if it exists; by default nothing is kept.
      shown: Whether to show progress on standard error.

    Returns:
      The results; `pandas.DataFrame([row.fields() for row in rows])` is a table of them.

    Raises:
      JaxpartError: An argument is wrong; the message is one sentence.
    """
    devices.prepare()
    config = part_config("", "", projector=True).lock()
    config.tasks, config.data.sets, config.data.root = tuple(tasks), tuple(data), str(root)
    for path, value in (options or {}).items():
        _set(config, path, value)
    with contextlib.ExitStack() as stack:
        folder = path_of(workdir or stack.enter_context(tempfile.TemporaryDirectory()))
        progress = Progress(shown=shown and devices.is_main())
        if isinstance(encoder, str | pathlib.Path | Encoder | FunctionEncoder | FeatureTable) and (
            image_size or pixels != "uint8" or version
        ):
            raise JaxpartError(
                "image_size, pixels and version describe a function, but this encoder is none; leave "
                "them out"
            )
        if isinstance(encoder, str | pathlib.Path):
            config.encoder.checkpoint = str(encoder)
            config.method = describe(encoder)[0]["family"]
            results = measure(config, folder, progress)
        else:
            if fixed := [path for path in options or {} if path.startswith("encoder.")]:
                raise JaxpartError(
                    f"options has {fixed[0]!r}, which an encoder that is passed as an object has already; "
                    "leave it out, or pass the encoder's folder"
                )
            frozen = _frozen(encoder, image_size, pixels, version)
            if isinstance(frozen, FeatureTable):
                config.encoder.features = str(frozen.path)
            else:  # no command line could recreate it
                config.encoder.callable = f"{frozen.name}, given to jaxpart.evaluate"
                config.encoder.precision = frozen.precision
                config.encoder.image_size = max(frozen.image_size)
            check_config(config)
            experiments.chosen(config)
            results = measure_encoder(placed(frozen), config, folder, progress, weights="yours")
    return read_rows(results, "results.json")


def _frozen(
    encoder: FrozenEncoder | Callable[[Any], Any], image_size: int, pixels: str, version: str
) -> FrozenEncoder:
    if isinstance(encoder, Encoder | FunctionEncoder | FeatureTable):
        return encoder
    if not image_size:
        raise JaxpartError(
            "pass the side in pixels of the images that the function expects: image_size=224"
        )
    return of_function(encoder, image_size=image_size, pixels=pixels, version=version)


def _set(config: Any, path: str, value: Any) -> None:
    """Sets a field of a locked configuration by its dotted name."""
    try:
        config.update_from_flattened_dict(
            {path: tuple(value) if isinstance(value, list) else value}
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise JaxpartError(
            f"options has {path!r}: {value!r}, which the configuration does not accept "
            f"({first_line(error)}); docs/configuration.md lists its fields"
        ) from error


def measure(config: Any, path: pathlib.Path, progress: Progress) -> dict[str, Any]:
    """Runs the tasks of a configuration with its encoder.

    Args:
      config: See `jaxpart.config`.
      path: The work directory.
      progress: Shows progress.

    Returns:
      What results.json holds.

    Raises:
      JaxpartError: The user made a mistake; the message is one sentence.
    """
    check_config(config)
    experiments.chosen(config)
    weights = _weights(config)
    encoder = configured_encoder(config)
    return measure_encoder(encoder, config, path, progress, weights=weights)


def expected(config: Any, progress: Progress) -> list[Estimate]:
    """The cost of a configuration's tasks: see `jaxpart.tasks.estimate`. Nothing is written.

    Raises:
      JaxpartError: As in `measure` before it starts, or the features do not fit.
    """
    check_config(config)
    experiments.chosen(config)
    encoder = configured_encoder(config)
    config = fitted(config, encoder, progress.say)
    return estimate(_plans(encoder, config, progress), config.features, progress)


def _plans(encoder: FrozenEncoder, config: Any, progress: Progress) -> list[Plan]:
    """The plans of a fitted configuration: everything is opened and checked, nothing encoded or written."""
    chosen = experiments.chosen(config)
    plans = [plan for task in chosen.values() for plan in task.plans(encoder, config, progress)]
    for plan in plans:
        for need in plan.needs.values():
            need.check()
        if len(plan.sources) == 2:
            progress.say_once(trained_on(*plan.sources))
    unused = [k for k in _CRITTERS if config.data[k] != field_of(f"data.{k}").default]
    data_sets = [source.info.name for plan in plans for source in plan.sources]
    if unused and "critters" not in data_sets:
        progress.say(
            f"this run ignores {' and '.join(f'config.data.{key}' for key in unused)}, which only critters "
            f"have; it reads {', '.join(dict.fromkeys(data_sets)) or 'no images'}"
        )
    return plans


def measure_encoder(
    encoder: FrozenEncoder, config: Any, path: pathlib.Path, progress: Progress, *, weights: str
) -> dict[str, Any]:
    """Runs the tasks of a checked configuration with an encoder: see `measure`.

    Args:
      encoder: The frozen encoder, on all devices.
      config: See `jaxpart.config`.
      path: The work directory.
      progress: Shows progress.
      weights: Describes the origin of its weights.
    """
    config = fitted(config, encoder, progress.say)
    plans = _plans(encoder, config, progress)
    announce(plans, config.features, progress)
    workdir = WorkDir(
        path,
        json.loads(config.to_json_best_effort()),
        writes=devices.is_main(),
        tensorboard=config.tensorboard,
    )
    if isinstance(encoder, FunctionEncoder) and not encoder.version:
        progress.say(
            f"{encoder.name} has no version (--config.encoder.version): features are not cached, "
            "and an interrupted run cannot be resumed"
        )
    # Without a digest there is no way to tell whether the folder's contents are from this encoder.
    workdir.belongs_to("the encoder", encoder.digest or str(uuid.uuid4()))
    for plan in plans:
        workdir.reads(plan.what, *plan.sources)
    rows: list[Row] = []
    for row in carry_out(plans, config.features, workdir, progress):
        rows.append(row)
        workdir.row(row)
    description = {
        "name": encoder.name,
        "trained": encoder.trained,
        "digest": encoder.digest,
        **_size(encoder),
        "weights": weights,
    }
    if encoder.name == "mae":  # whose patches the published code permutes
        description["patch_order"] = config.encoder.patch_order
    if encoder.precision != REFERENCE:
        description["precision"] = encoder.precision
    rules = {
        name: applied
        for name, task in experiments.chosen(config).items()
        if (applied := dict(task.rules(encoder, config)))
    }
    results = {
        "version": VERSION,
        "encoder": description,
        "tasks": list(config.tasks),
        "rules": rules,
        "rows": [row.fields() for row in rows],
    }
    workdir.finish(results)
    return results


def _size(encoder: FrozenEncoder) -> dict[str, int]:
    if isinstance(encoder, Encoder):
        config = encoder.config
        return {"width": config.width, "depth": config.depth, "patch_size": config.patch_size}
    return {"depth": encoder.depth}


def _weights(config: Any) -> str:
    """Describes the origin of the weights of a configuration's encoder, as far as it is known.

    Raises:
      JaxpartError: It declares a bundled or random encoder as released.
    """
    if not config.encoder.checkpoint:
        if config.encoder.released:
            raise JaxpartError(
                "config.encoder.released applies only to a converted checkpoint; name one in "
                "config.encoder.checkpoint"
            )
        if config.encoder.callable or config.encoder.features:
            return "random" if config.encoder.weights == "random" else "yours"
        return "bundled with jaxpart" if config.encoder.small == "trained" else "random"
    document, _ = describe(config.encoder.checkpoint)
    digest = str((document.get("source") or {}).get("sha256") or "")
    known = [prefix for prefix in CHECKSUMS.get(config.method, ()) if digest.startswith(prefix)]
    if known:
        return f"released, SHA-256 {known[0]}…"
    return "released, as you stated" if config.encoder.released else "yours"


def results_text(results: Mapping[str, Any]) -> str:
    """The table of one encoder's results, a section per task, with the rules that were applied."""
    rows = read_rows(results, "results.json")
    sections = [experiments.find(name).section(rows) for name in results["tasks"]]
    rules = [rules_line(name, applied) for name, applied in results["rules"].items()]
    return "\n".join([sections_text(encoder_name(results["encoder"]), sections), *rules])

"""A pretraining run, from its configuration to an encoder's folder."""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxpart import devices
from jaxpart.data.critters import Critters
from jaxpart.data.sets.imagenet import ImageNet
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.families import Preprocessing
from jaxpart.encoders.loading import describe, write_encoder
from jaxpart.encoders.weights import arrays_of
from jaxpart.errors import JaxpartError
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.io.files import on_disk, write_folder
from jaxpart.pretraining import tokenizer
from jaxpart.pretraining.decoders import write_decoder
from jaxpart.pretraining.objective import Objective, Student, find
from jaxpart.pretraining.pool import Pool, Supply, loaded_supply, pool_supply, read_pool
from jaxpart.pretraining.recipe import architecture
from jaxpart.pretraining.step import State, make_optimizer, make_step, result, start
from jaxpart.pretraining.validation import MEASURES, Validation
from jaxpart.runs.progress import Progress
from jaxpart.runs.workdir import WorkDir
from jaxpart.training import fit

_CURVE_POINTS = 100
_VALIDATION = "validation/"


def make_supply(config: Any, workdir: WorkDir, progress: Progress) -> Supply:
    """The training images of a configuration, recorded in the run's folder.

    Raises:
      JaxpartError: The data set is missing, does not fill a batch, or has classes that DeiT's classifier
        lacks.
    """
    data = config.data
    if data.name == "critters":
        return pool_supply(draw_pool(config, progress), config.batch_size, config.seed)
    on_disk(data.root, "a data root")
    source = ImageNet(data.root, "train")
    classes, projector = len(source.info.class_names), architecture(config)[0].projector
    if config.method == "deit" and projector is not None and classes > projector.out:
        raise JaxpartError(
            f"{data.root} holds {classes} classes, but the classifier has {projector.out} outputs; set "
            "config.projector.out in a configuration of your own"
        )
    workdir.reads("pretraining", source)
    return loaded_supply(source, data.image_size, config.batch_size, config.seed)


def draw_pool(config: Any, progress: Progress) -> Pool:
    """The critters of a configuration."""
    data = config.data
    source = Critters(
        "train" if data.version == 1 else "pretrain",
        data.num_images,
        image_size=data.image_size,
        seed=data.seed,
        version=data.version,
    )
    with progress.bar("drawing critters", len(source)) as advance:
        return read_pool(source, data.image_size, advance)


def pretrain(
    config: Any,
    workdir: WorkDir,
    progress: Progress,
    *,
    supply: Supply | None = None,
    max_steps: int | None = None,
) -> dict[str, Any]:
    """Trains, and writes `encoder` into the work directory, in the format of a converted checkpoint.

    Resumes a stopped run; measurements are appended to metrics.jsonl.

    `max_steps` stops the run early; schedules remain those of the full run.

    Returns:
      The contents of results.json.

    Raises:
      JaxpartError: The configuration, the data or the folder is unusable.
    """
    folder = workdir.path / "encoder"
    checkpointer = Checkpointer(workdir.path / "place", every_seconds=config.checkpoint_seconds)
    if folder.exists():
        if (workdir.path / "results.json").exists():
            raise JaxpartError(f"{folder} exists: the run is done; name another --workdir")
        # Otherwise the process was killed after writing the encoder.
        stored = describe(folder)[0].get("pretraining", {})
        if stored.get("config") != json.loads(config.to_json_best_effort()):
            raise JaxpartError(f"{folder} holds another encoder; name another --workdir")
        checkpointer.delete()
        return stored
    supply = supply or make_supply(config, workdir, progress)
    epoch = supply.per_epoch
    steps = config.epochs * epoch
    objective = find(config.method)(*architecture(config), config, steps, epoch)
    optimizer, rate = make_optimizer(
        config.optimizer, config.batch_size, steps, config.warmup_epochs * epoch
    )
    with progress.bar(f"{config.method}: fitting tokens", None):
        codebook = make_codebook(objective, supply.sample)
    graph, state = start(objective, optimizer, config.seed, codebook)
    run_steps = steps if max_steps is None else min(steps, max_steps)
    measure = make_measure(config, objective, graph, run_steps, workdir)
    started = time.monotonic()
    with (
        contextlib.closing(supply),
        progress.bar(f"{config.method}: images", run_steps * config.batch_size) as advance,
    ):

        def log(number: int, metrics: Mapping[str, np.ndarray]) -> None:
            advance(config.batch_size)
            if number % config.log_every == 0 or number == run_steps - 1:
                for name, value in metrics.items():
                    workdir.metric(name, float(value), step=number)

        state = fit(
            make_step(objective, graph, optimizer, rate),
            devices.replicate(state),
            supply.batches,
            steps=run_steps,
            put=supply.put,
            checkpointer=checkpointer,
            log=log,
            watch=measure,
        )
    results = {
        "config": json.loads(config.to_json_best_effort()),
        "steps": run_steps,
        "images_seen": run_steps * config.batch_size,
        "seconds": round(time.monotonic() - started, 1),  # since the last resume
        "commit": commit(),
        "curve": curve_of(workdir.measured()),
        "validation": validation_of(workdir.measured()),
    }
    student = _fetched(objective, graph, state)
    if devices.is_main():
        write(folder, config, objective, student, results)
    devices.wait_for_main()  # or another process could delete the checkpoint first
    checkpointer.delete()
    return results


def make_measure(
    config: Any, objective: Objective, graph: Any, steps: int, workdir: WorkDir
) -> Callable[[int, State], None]:
    """A callback that validates the encoder at evenly spaced steps and logs it; see `Validation`."""
    points = min(config.validation.points, steps)
    if not points:
        return lambda taken, state: None
    data, size = config.data, objective.encoder.image_size[0]
    validation = _validation(
        config.validation.images, data.image_size, data.seed, data.version, size
    )
    measured_at = {round(steps * point / points) for point in range(1, points + 1)}

    def measure(taken: int, state: State) -> None:
        if taken in measured_at:
            vit = _fetched(objective, graph, state).vit
            encoder = Encoder(config.method, vit, Preprocessing(), "", trained=True)
            for name, value in validation(encoder).items():
                workdir.metric(f"{_VALIDATION}{name}", value, step=taken)

    return measure


def _fetched(objective: Objective, graph: Any, state: State) -> Student:
    """The modules of a state, on the host; the optimiser's moments stay on the devices."""
    return result(objective, graph, devices.fetch(state._replace(optimizer=(), memory={})))


@functools.cache  # shared by the runs of the zoo
def _validation(images: int, image_size: int, seed: int, version: int, size: int) -> Validation:
    split = "test" if version == 1 else "train"  # not seen by the encoder
    source = Critters(split, images, image_size=image_size, seed=seed, version=version)
    return Validation(source, size)


def validation_of(measured: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The validation's measurements by name, with "step"; empty without any."""
    values: dict[str, list[float]] = {}
    for name in MEASURES:
        rows = [entry for entry in measured if entry["name"] == _VALIDATION + name]
        if rows:
            values["step"] = [row["step"] for row in rows]
            values[name] = [float(f"{row['value']:.4g}") for row in rows]
    return values


def make_codebook(
    objective: Objective, sample: UInt8[np.ndarray, "images height width 3"]
) -> Float[Array, "tokens pixel"] | None:
    """The tokenizer fitted to some images; None if the method has none."""
    if objective.decoder is None or not objective.decoder.codebook:
        return None
    return tokenizer.fit_codebook(
        jax.random.key(objective.config.seed),
        jnp.asarray(sample),
        objective.view("view"),
        objective.encoder.patch_size,
        objective.decoder.out,
    )


def write(
    folder: pathlib.Path,
    config: Any,
    objective: Objective,
    student: Student,
    results: Mapping[str, Any],
) -> None:
    """Writes an encoder's folder atomically."""

    def fill(temporary: pathlib.Path) -> None:
        about: dict[str, Any] = {"pretraining": results}
        if objective.decoder is not None:
            about |= write_decoder(temporary, objective.decoder, arrays_of(student.decoder))
        arrays, pixels = arrays_of(student.vit), Preprocessing()
        write_encoder(temporary, config.method, objective.encoder, pixels, arrays, about)

    write_folder(folder, fill)


def curve_of(measured: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The log by name, with "step", averaged over at most 100 intervals."""
    steps: dict[int, dict[str, float]] = {}
    for entry in measured:
        if entry.get("step") is not None and not entry["name"].startswith(_VALIDATION):
            steps.setdefault(entry["step"], {"step": entry["step"]})[entry["name"]] = entry["value"]
    rows = [steps[step] for step in sorted(steps)]
    if not rows:
        return {}
    intervals = np.array_split(np.arange(len(rows)), min(_CURVE_POINTS, len(rows)))
    return {
        name: [float(f"{np.mean([rows[i][name] for i in interval]):.4g}") for interval in intervals]
        for name in rows[0]
    }


def commit() -> str:
    """The commit of the code, with "+" if files differ from it; "" outside a repository."""
    package = pathlib.Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        process = subprocess.run(["git", *arguments], cwd=package, capture_output=True, text=True)
        return process.stdout.strip() if process.returncode == 0 else ""

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except OSError:  # no git
        return ""

"""A pretraining run from its configuration to an encoder's folder."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxpart import devices
from jaxpart.checkpoints import Checkpointer
from jaxpart.data.critters import Critters
from jaxpart.encoders.encoder import Preprocessing
from jaxpart.encoders.loading import write_encoder
from jaxpart.errors import JaxpartError
from jaxpart.pretraining import tokenizer
from jaxpart.pretraining.decoders import write_decoder
from jaxpart.pretraining.objective import Objective, Student, find
from jaxpart.pretraining.pool import Pool, PoolBatches, read_pool
from jaxpart.pretraining.recipe import architecture
from jaxpart.pretraining.step import make_optimizer, make_step, result, start
from jaxpart.progress import Progress
from jaxpart.training import fit

_CODEBOOK_IMAGES = 1024
_CURVE_POINTS = 100


def load_pool(config: Any, progress: Progress) -> Pool:
    """The training images that a configuration names.

    Raises:
      JaxpartError: The data set is unknown or not there.
    """
    data = config.data
    if data.name != "critters":
        raise JaxpartError(f"there is no training set {data.name!r}; choose critters")
    source = Critters("train", data.num_images, image_size=data.image_size, seed=data.seed)
    with progress.bar("drawing critters", len(source)) as advance:
        return read_pool(source, data.image_size, advance)


def pretrain(
    config: Any,
    folder: pathlib.Path,
    progress: Progress,
    *,
    pool: Pool | None = None,
    place: pathlib.Path | None = None,
    max_steps: int | None = None,
) -> dict[str, Any]:
    """Trains, and writes the encoder (and decoder) in the format of a converted one.

    Args:
      config: See `jaxpart.pretraining.recipe`.
      folder: To be made; it appears whole or not at all.
      progress: Shows how far it is.
      pool: The training images, if they are in memory already.
      place: Where checkpoints of the run's place are kept, for a resume; None for none.
      max_steps: Ends the run early; schedules are those of the whole run.

    Returns:
      What the encoder's folder says of the run.

    Raises:
      JaxpartError: The configuration, the data or the folder will not do.
    """
    if folder.exists():
        raise JaxpartError(f"{folder} exists; name another --workdir")
    pool = pool or load_pool(config, progress)
    batches = PoolBatches(pool, config.batch_size, config.seed)
    steps = config.epochs * batches.per_epoch
    method = find(config.method)
    objective = method(*architecture(config), config, steps, batches.per_epoch)
    optimizer, rate = make_optimizer(
        config.optimizer, config.batch_size, steps, config.warmup_epochs * batches.per_epoch
    )
    student = make_student(objective, pool)
    graph, state = start(objective, optimizer, student)
    checkpointer = None
    if place is not None:
        checkpointer = Checkpointer(place, every_seconds=config.checkpoint_seconds)
    curve: list[dict[str, float]] = []
    began = time.monotonic()
    taken = min(steps, max_steps or steps)
    with progress.bar(f"{config.method}: images", taken * config.batch_size) as advance:

        def log(number: int, metrics: Mapping[str, np.ndarray]) -> None:
            curve.append({"step": number, **{k: float(v) for k, v in metrics.items()}})
            advance(config.batch_size)

        state = fit(
            make_step(objective, graph, optimizer, rate, config.seed),
            devices.replicate(state),
            batches,
            steps=taken,
            put=devices.shard,
            checkpointer=checkpointer,
            log=log,
        )
    about = {
        "pretraining": {
            "config": json.loads(config.to_json_best_effort()),
            "steps": taken,
            "images_seen": taken * config.batch_size,
            "seconds": round(time.monotonic() - began, 1),
            "commit": commit(),
            "curve": thinned(curve),
        }
    }
    write(folder, config, objective, result(objective, graph, devices.fetch(state)), about)
    if checkpointer is not None:
        checkpointer.delete()
    return about["pretraining"]


def make_student(objective: Objective, pool: Pool) -> Student:
    """Random weights from the seed, and the tokenizer fitted where there is one."""
    seed = objective.config.seed
    student = Student(objective.encoder, objective.decoder, rngs=nnx.Rngs(seed))
    if objective.decoder is not None and objective.decoder.codebook:
        rows = np.random.default_rng(seed).permutation(len(pool))[:_CODEBOOK_IMAGES]
        student.decoder.codebook[...] = tokenizer.fit_codebook(
            jax.random.key(seed),
            jnp.asarray(pool.images[np.sort(rows)]),
            objective.view("view"),
            objective.encoder.patch_size,
            objective.decoder.out,
        )
    return student


def write(
    folder: pathlib.Path,
    config: Any,
    objective: Objective,
    student: Student,
    about: Mapping[str, Any],
) -> None:
    """Writes an encoder's folder, whole or not at all."""
    temporary = folder.parent / f".{folder.name}.writing-{os.getpid()}"
    try:
        temporary.mkdir(parents=True)
        extra = dict(about)
        if objective.decoder is not None:
            extra |= write_decoder(temporary, objective.decoder, arrays_of(student.decoder))
        write_encoder(
            temporary,
            config.method,
            objective.encoder,
            Preprocessing(),
            arrays_of(student.vit),
            extra,
        )
        os.replace(temporary, folder)
    except OSError as error:
        raise JaxpartError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def arrays_of(module: nnx.Module) -> dict[str, np.ndarray]:
    """A module's arrays by dotted path."""
    flat = nnx.to_flat_state(nnx.state(module))
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in flat}


def thinned(curve: list[dict[str, float]]) -> list[dict[str, float]]:
    """Means over at most 100 stretches of a run, rounded to what a plot shows."""
    if not curve:
        return []
    parts = np.array_split(np.arange(len(curve)), min(_CURVE_POINTS, len(curve)))
    return [
        {name: float(f"{np.mean([curve[i][name] for i in part]):.5g}") for name in curve[0]}
        for part in parts
    ]


def commit() -> str:
    """The commit of the code, with "+" where files differ from it; "" outside a repository."""
    here = pathlib.Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except OSError:  # no git
        return ""

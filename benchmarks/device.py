"""Measures one accelerator at the paper's sizes: python -m benchmarks.device [--quick]

Golden encoders at each precision, a ViT-B's images per second, retrieval, both probes, segmentation and
pretraining steps, and the peak memory of each. Needs no network, no PyTorch and no data set. Every
measurement runs in its own process, and a failure does not stop the others. `benchmarks/device.sh` first
installs the dependencies from wheels.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from benchmarks import precision as precisions
from benchmarks.suite import machine
from benchmarks.timing import Row, in_fresh_process, table, value
from jaxpart import devices
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.precision import REFERENCE, Precision
from jaxpart.encoders.small import small_config
from jaxpart.metrics.average_precision import average_precision
from jaxpart.pretraining.objective import find
from jaxpart.pretraining.recipe import architecture
from jaxpart.pretraining.step import make_optimizer, make_step, start
from jaxpart.probes.attentive import AttentiveHead
from jaxpart.probes.items import Items
from jaxpart.probes.linear import LinearHead
from jaxpart.probes.pixel import PixelHeads
from jaxpart.probes.probe import fit
from jaxpart.probes.recipe import Recipe
from jaxpart.probes.sweep import Sweep
from jaxpart.tasks.segmentation.heads import readouts, training_program

PRECISIONS: tuple[Precision, ...] = (REFERENCE, "float32", "bfloat16")
"""`float32` is TF32 on a GPU."""

_GOLDEN = (precisions.SHARED / "golden", pathlib.Path(__file__).parents[1] / "tests" / "golden")
_LIMIT = 1e-4


def goldens(quick: bool) -> Iterator[Row]:
    """Largest absolute error of the golden encoders' tokens against the original PyTorch code."""
    folder = next(folder for folder in _GOLDEN if folder.is_dir())
    notes = sorted((folder / "encoders").glob("*/note.json"))[: 1 if quick else None]
    worst = dict.fromkeys(PRECISIONS, 0.0)
    for note in notes:
        exact, images = precisions.golden(note)
        expected = np.load(note.parent / "expected.npz")["tokens"]
        for name in PRECISIONS:
            tokens = np.asarray(dataclasses.replace(exact, precision=name)(images)["tokens"])
            worst[name] = max(worst[name], float(np.abs(tokens - expected).max()))
    for name, error in worst.items():
        most = _LIMIT if name == REFERENCE else None
        yield value(f"{len(notes)} golden encoders, {name}: largest error", error, "", most=most)


def encoder(quick: bool) -> Iterator[Row]:
    """A ViT-B's throughput on 224 × 224 images already on the device."""
    for name in PRECISIONS:
        model, batch = _encoder(quick, name), 2 if quick else 256
        pixels = devices.shard(np.zeros((batch, *model.config.image_size, 3), np.float32))
        run = jax.jit(lambda encoder, pixels: encoder(pixels)["tokens"])
        seconds = _seconds(functools.partial(run, model, pixels), quick)
        yield value(f"encoder, {name}, batch {batch}", batch / seconds, "images/s")


def retrieval(quick: bool) -> Iterator[Row]:
    """All pairs of 150 000 patches, including the copy to the device and compilation."""
    items = 512 if quick else 150_000
    random = np.random.default_rng(0)
    features = random.standard_normal((items, 768), np.float32)
    start_time = time.perf_counter()
    average_precision(features, random.integers(0, 4, items))
    seconds = time.perf_counter() - start_time
    yield value(f"retrieval, {items} × 768", seconds, "s", most=20)


def linear(quick: bool) -> Iterator[Row]:
    """Epochs of a linear probe on class tokens."""
    items = 256 if quick else 50_000
    yield from _probe("linear", functools.partial(LinearHead, 768, 15), (items, 768))


def attentive(quick: bool) -> Iterator[Row]:
    """Epochs of an attentive probe on all tokens."""
    shape = (16, 17, 768) if quick else (13_900, 197, 768)
    yield from _probe("attentive", functools.partial(AttentiveHead, 768, 15), shape)


def segmentation(quick: bool) -> Iterator[Row]:
    """Training steps of thirteen pixel heads on 16 crops of 512 × 512 pixels."""
    batch, side, classes = (1, 32, 5) if quick else (16, 512, 150)
    for name in (REFERENCE, "bfloat16"):
        model = _encoder(quick, name)
        layers = readouts(("paper", "blocks"), model.config.depth)
        heads = PixelHeads(layers, model.config.width, classes, rngs=nnx.Rngs(0))
        state, step = training_program(model, heads, optax.adamw(1e-4))
        rows = {
            "image": np.zeros((batch, side, side, 3), np.uint8),
            "label": np.zeros((batch, side, side), np.uint8),
            "size": np.full((batch, 2), side, np.int32),
        }
        rate = 1 / _step_seconds(step, devices.replicate(state), devices.shard(rows), quick)
        yield value(f"segmentation, {name}, {batch} × {side}²", rate, "steps/s")


def pretraining(quick: bool) -> Iterator[Row]:
    """Training steps of the published recipes, at a batch size that fits one device."""
    for method in ("mae",) if quick else ("mae", "deit", "ibot"):
        variant, batch = (None, 8) if quick else ("imagenet", 128)
        config = importlib.import_module(f"configs.pretrain.{method}").get_config(variant)
        config.batch_size = batch
        if quick:
            config.encoder.depth = config.decoder.depth = 1
        objective = find(method)(*architecture(config), config, 1000, 100)
        optimizer, rate = make_optimizer(config.optimizer, batch, 1000, 100)
        graph, state = start(objective, optimizer, config.seed)
        step = make_step(objective, graph, optimizer, rate)
        side = config.data.image_size
        images = np.zeros((batch, side, side, 3), np.uint8)
        rows = devices.shard({"image": images, "label": np.zeros(batch, np.int32)})
        seconds = _step_seconds(step, devices.replicate(state), rows, quick)
        yield value(f"pretraining, {method}, batch {batch}", batch / seconds, "images/s")


MEASUREMENTS: tuple[Callable[[bool], Iterator[Row]], ...] = (
    goldens,
    encoder,
    retrieval,
    linear,
    attentive,
    segmentation,
    pretraining,
)


def _encoder(quick: bool, precision: Precision) -> Encoder:
    config = small_config("deit") if quick else ViTConfig()
    model = dataclasses.replace(random_encoder("deit", config), precision=precision)
    return devices.replicate(model)


def _probe(name: str, make: Callable[..., nnx.Module], shape: tuple[int, ...]) -> Iterator[Row]:
    random = np.random.default_rng(0)
    samples = random.standard_normal((16, *shape[1:]), np.float32)
    labels = random.integers(0, 15, shape[0]).astype(np.int32)
    train = Items([np.resize(samples, shape)], labels)
    test = Items([samples], labels[: len(samples)])
    epoch_ends: dict[int, float] = {}
    recipe = Recipe((0.1,), epochs=3, batch_size=min(1024, shape[0]))
    fit(
        [Sweep(make, recipe, [0])],
        train,
        [test],
        log=lambda sweep, epoch, metrics: epoch_ends.update({epoch: time.perf_counter()}),
    )
    size = " × ".join(map(str, shape))
    yield value(f"{name} probe, {size}, an epoch", epoch_ends[2] - epoch_ends[1], "s")


def _seconds(run: Callable[[], Any], quick: bool) -> float:
    """Seconds per call, after one that compiles."""
    jax.block_until_ready(run())
    calls = 1 if quick else 10
    start_time = time.perf_counter()
    for _ in range(calls):
        out = run()
    jax.block_until_ready(out)
    return (time.perf_counter() - start_time) / calls


def _step_seconds(step: Callable[..., Any], state: Any, rows: Any, quick: bool) -> float:
    """Seconds per training step, whose state is donated."""

    def run() -> Any:
        nonlocal state
        state, metrics = step(state, rows)
        return metrics

    return _seconds(run, quick)


def measured(name: str, quick: bool) -> list[Row]:
    """The rows of a measurement, and the device's peak memory if it reports one."""
    devices.start()
    rows = list(globals()[name](quick))
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if peak:
        rows.append(value(f"{name}, peak memory", peak / 2**30, "GiB"))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one table; returns 1 if something failed or a limit was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: only checks that everything runs"
    )
    options = parser.parse_args(arguments)
    print(
        ", ".join(f"{key} {entry}" for key, entry in in_fresh_process(machine).items()), flush=True
    )
    rows: list[tuple[str, Row]] = []
    failed = False
    for measurement in MEASUREMENTS:
        name = measurement.__name__
        start_time = time.perf_counter()
        try:
            rows += [(name, row) for row in in_fresh_process(measured, name, options.quick)]
        except Exception as error:  # the others still run
            failed = True
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"{name}: {time.perf_counter() - start_time:.0f} s", file=sys.stderr, flush=True)
    print(table(rows))
    return int(failed or any(row.met is False for _, row in rows))


if __name__ == "__main__":
    sys.exit(main())

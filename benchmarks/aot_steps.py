"""The steps of jaxpart at the paper's sizes, for `benchmarks.aot` to compile."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxpart import devices
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.families import Preprocessing
from jaxpart.encoders.precision import REFERENCE, Precision
from jaxpart.encoders.sharding import sharded_axis
from jaxpart.encoders.vit import abstract_vit
from jaxpart.encoders.weights import variables_of
from jaxpart.metrics.average_precision import placed, ring_queries
from jaxpart.pretraining.objective import find
from jaxpart.pretraining.recipe import architecture
from jaxpart.pretraining.step import make_optimizer, make_step, start
from jaxpart.probes.attentive import AttentiveHead
from jaxpart.probes.incontext import Memory
from jaxpart.probes.items import Items, TrainPiece, free_memory
from jaxpart.probes.linear import LinearHead
from jaxpart.probes.pixel import PixelHeads
from jaxpart.probes.random_views import ViewBatches, encoded
from jaxpart.probes.recipe import Recipe
from jaxpart.probes.sweep import Sweep
from jaxpart.tasks.segmentation.heads import Readers, readouts, training_program, window_logits

_CLASSES = 150
"""Segmentation classes: ADE20K's objects."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A program and its arguments.

    Attributes:
      program: A jitted function.
      arguments: Its arrays, or their descriptions.
      options: Static arguments, by name.
    """

    program: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def lower(self) -> Any:
        """The program lowered for the described devices, not yet compiled."""
        return self.program.lower(*self.arguments, **self.options)


class _Absent:
    """Features that exist only as a shape; rows read from them take no memory."""

    dtype = np.dtype(np.float32)

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return np.broadcast_to(
            np.ones((), self.dtype), (*np.arange(self.shape[0])[rows].shape, *self.shape[1:])
        )


def encoder(precision: Precision, images: int, model_devices: int = 1) -> Step:
    """A ViT-B on `images` images of 224 × 224 pixels per group of `model_devices` devices."""
    model = _encoder(precision, model_devices)
    batch = images * devices.mesh().shape["data"] // devices.num_processes()
    pixels = devices.shard(np.broadcast_to(np.float32(0), (batch, 224, 224, 3)))
    return Step(jax.jit(lambda encoder, images: encoder(images)), (model, pixels))


def retrieval(items: int) -> Step:
    """All-pairs retrieval with features of 768 channels."""
    arrays, options = placed(_Absent(items, 768), np.zeros(items, np.int32), exclude_self=False)
    return Step(ring_queries, arrays, options)


def linear(items: int, *, memory: int | None = None) -> Step:
    """An epoch of a linear head on vectors, or part of one if they do not fit in `memory` bytes."""
    make = functools.partial(LinearHead, 768, 15)
    return _probe(make, (items, 768), Recipe((0.1,), batch_size=1024), memory)


def attentive(items: int, *, memory: int | None = None) -> Step:
    """The same for an attentive head on all tokens of an image."""
    make = functools.partial(AttentiveHead, 768, 15)
    return _probe(make, (items, 197, 768), Recipe((0.01,), batch_size=1024), memory)


def views_encoded() -> Step:
    """ImageNet's random views for a step of both heads."""
    share = 1024 // devices.num_processes()
    pixels = devices.shard(np.broadcast_to(np.uint8(0), (share, 224, 224, 3)))
    names = (("cls_token",), ("tokens",))
    return Step(encoded, (_encoder(REFERENCE), pixels), {"names": names})


def views_step(head: str, batch: int) -> Step:
    """A head's step on such views, in parts of 1024."""
    make: Any = {
        "linear": functools.partial(LinearHead, 768, 1000, batch_norm=True),
        "attentive": functools.partial(AttentiveHead, 768, 1000),
    }[head]
    shape = {"linear": (768,), "attentive": (197, 768)}[head]
    sweep = Sweep(make, Recipe((0.1,), batch_size=batch), [0])
    share = 1024 // devices.num_processes()
    features = np.broadcast_to(np.float32(0), (1, 1, 1, share, *shape))
    part = devices.shard(features, axis=3), devices.shard(np.zeros((1, 1, share), np.int32), axis=2)
    rates = devices.replicate(np.zeros((1, 1), np.float32))
    piece = TrainPiece((part,) * (batch // 1024), rates, None)
    state = _start(sweep, 1, 50_000)
    return Step(sweep.train, (state, None, piece), {"gather": ViewBatches.gather})


def segmentation_training(precision: Precision) -> Step:
    """A step of thirteen pixel heads on 512 × 512 crops: 16, or one per chip if there are more chips."""
    model = _encoder(precision)
    heads = _pixel_heads()
    state, step = training_program(model, heads, optax.adamw(1e-4))
    share = max(16, devices.count()) // devices.num_processes()
    rows = {
        "image": np.broadcast_to(np.uint8(0), (share, 512, 512, 3)),
        "label": np.broadcast_to(np.uint8(0), (share, 512, 512)),
        "size": np.zeros((share, 2), np.int32),
    }
    assert isinstance(step, functools.partial)
    return Step(step.func, (*step.args, state, devices.shard(rows)))


def segmentation_windows(windows: int, *, memory: bool) -> Step:
    """The sliding-window test's forward pass on `windows` windows per chip, in-context with `memory`."""
    model = _encoder(REFERENCE)
    patches = 64 * 1024
    labelled = None
    if memory:
        labelled = Memory(
            jax.ShapeDtypeStruct((patches, 768), jnp.float32),
            jax.ShapeDtypeStruct((patches, _CLASSES), jnp.float32),
        )
    logits = window_logits(model, Readers([_pixel_heads()], labelled))
    assert isinstance(logits, functools.partial)
    count = windows * devices.mesh().local_mesh.size
    batch = np.broadcast_to(np.uint8(0), (count, 512, 512, 3)), np.zeros((count, 2), np.int32)
    return Step(logits.func, (*logits.args, *devices.shard(batch, local=True)))


def pretraining(method: str) -> Step:
    """A step of a method's published recipe."""
    config = importlib.import_module(f"configs.pretrain.{method}").get_config("imagenet")
    steps_per_epoch = 1_281_167 // config.batch_size
    steps = config.epochs * steps_per_epoch
    objective = find(method)(*architecture(config), config, steps, steps_per_epoch)
    optimizer, rate = make_optimizer(
        config.optimizer, config.batch_size, steps, config.warmup_epochs * steps_per_epoch
    )
    graphs = []

    def state(codebook: Any) -> Any:
        graph, initial = start(objective, optimizer, config.seed, codebook)
        graphs.append(graph)
        return initial

    decoder = objective.decoder
    codebook = None
    if decoder is not None and decoder.codebook:
        codebook = jax.ShapeDtypeStruct((decoder.out, decoder.codebook), jnp.float32)
    abstract = devices.replicate(jax.eval_shape(state, codebook))
    step = make_step(objective, graphs[0], optimizer, rate)
    share, size = config.batch_size // devices.num_processes(), config.data.image_size
    images = np.broadcast_to(np.uint8(0), (share, size, size, 3))
    batch = devices.shard({"image": images, "label": np.zeros(share, np.int32)})
    return Step(step, (abstract, batch))


def _encoder(precision: Precision, model_devices: int = 1) -> Encoder:
    config = ViTConfig()
    devices.arrange(model_devices)
    graph, state = nnx.split(abstract_vit(config))
    for path, leaf in variables_of(state).items():
        leaf.set_value(devices.shard_over_model(leaf.get_value(), sharded_axis(path)))
    return Encoder("deit", nnx.merge(graph, state), Preprocessing(), "", True, precision)


def _pixel_heads() -> PixelHeads:
    return PixelHeads(readouts(("paper", "blocks"), 12), 768, _CLASSES, rngs=nnx.Rngs(0))


def _start(sweep: Sweep, representations: int, items: int) -> Any:
    """The state before the first step, on all devices."""
    start = functools.partial(sweep.start, representations=representations, items=items)
    return devices.replicate(jax.eval_shape(start))


def _probe(make: Any, shape: tuple[int, ...], recipe: Recipe, memory: int | None) -> Step:
    items = Items([_Absent(*shape)], np.zeros(shape[0], np.int32))
    indices, sweep = np.arange(shape[0]), Sweep(make, recipe, [0])
    memory = free_memory() if memory is None else memory
    batches = items.batches(indices, recipe, [0], memory)
    piece, _ = batches.piece(0, 0)
    state = _start(sweep, 1, shape[0])
    return Step(sweep.train, (state, batches.arrays, piece), {"gather": batches.gather})


STEPS: dict[str, Callable[[], Step]] = {
    "encoder, float32-highest, 64 images a chip": lambda: encoder(REFERENCE, 64),
    "encoder, bfloat16, 256 images a chip": lambda: encoder("bfloat16", 256),
    "encoder, bfloat16, 256 images, weights sharded over 4": lambda: encoder("bfloat16", 256, 4),
    "retrieval, 150 000 × 768": lambda: retrieval(150_000),
    "linear probe, 50 000 × 768 resident": lambda: linear(50_000),
    "linear probe, 50 000 × 768 streamed": lambda: linear(50_000, memory=0),
    "attentive probe, 13 900 × 197 × 768 resident": lambda: attentive(13_900),
    "attentive probe, streamed": lambda: attentive(50_000, memory=0),
    "random views, 1024 encoded for both heads": views_encoded,
    "random views, attentive, batch 1024": lambda: views_step("attentive", 1024),
    "random views, linear, batch 16 384": lambda: views_step("linear", 16_384),
    "segmentation training, 512², 13 heads": lambda: segmentation_training(REFERENCE),
    "segmentation training, bfloat16": lambda: segmentation_training("bfloat16"),
    "segmentation windows, 8 a chip": lambda: segmentation_windows(8, memory=False),
    "segmentation windows, in-context": lambda: segmentation_windows(8, memory=True),
    **{
        f"pretraining, {method}": functools.partial(pretraining, method)
        for method in ("deit", "mocov3", "dino", "ibot", "mae", "beit", "cae")
    },
}
"""By name in the table."""

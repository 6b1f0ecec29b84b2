"""Pretraining steps per second against plain PyTorch: python -m benchmarks pretraining

One method of each kind (supervised DeiT, contrastive MoCo v3, masked MAE) at the bundled sizes: forward,
backward, AdamW and moving average, on both sides from finished views of the encoder's size (ours crop them
once more, to the whole image). The full step including its views is reported too. The PyTorch step is built
from timm's blocks and runs eagerly on all cores, once as it is, and once with the C library keeping its
memory as it keeps ours. Each side runs in its own process, as training does; the sides alternate.
"""

from __future__ import annotations

import contextlib

import jax
import numpy as np
import torch

from benchmarks import torch_pretraining as twin
from benchmarks.timing import Apart, Row, faster, medians, value
from jaxpart import devices
from jaxpart.cpu import pages
from jaxpart.pretraining.objective import find
from jaxpart.pretraining.recipe import architecture
from jaxpart.pretraining.step import make_optimizer, make_step, start
from jaxpart.pretraining.zoo import recipe_of

METHODS = ("deit", "mocov3", "mae")


def recipe(method: str):
    """The bundled recipe, with timm's patch embedding."""
    config = recipe_of(method)
    config.unlock()
    config.encoder.stem = "patch"
    return config


def plain(config) -> None:
    """Removes all randomness from the views."""
    view = config.views["pair" if "pair" in config.views else "view"]
    config.data.zoom = 1.0
    view.update(scale=(1.0, 1.0), flip=0.0, size=architecture(config)[0].image_size[0])
    for name in ("jitter_chance", "gray", "blur", "solarize", "invert", "turn"):
        if name in view:
            del view[name]


class Ours:
    """A method's training step with its state; calling it returns the number of trained parameters."""

    def __init__(self, method: str, batch: int, steps: int, views: bool):
        devices.start()
        self.steps = steps
        config = recipe(method)
        config.batch_size = batch
        if not views:
            plain(config)
        size = config.data.image_size
        objective = find(method)(*architecture(config), config, 1000, 100)
        optimizer, rate = make_optimizer(config.optimizer, batch, 1000, 100)
        graph, state = start(objective, optimizer, 0)
        self.parameters = sum(x.size for x in jax.tree.leaves(state.trained))
        self.state = devices.replicate(state)
        self.step = make_step(objective, graph, optimizer, rate)
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (batch, size, size, 3)).astype(np.uint8)
        labels = random.integers(0, 24, batch).astype(np.int32)
        self.batch = devices.shard({"image": images, "label": labels})

    def __call__(self) -> int:
        for _ in range(self.steps):
            self.state, metrics = self.step(self.state, self.batch)
        float(metrics["loss"])
        return self.parameters


class Theirs:
    """The same in PyTorch."""

    def __init__(self, method: str, batch: int, steps: int, kept: bool):
        if kept:
            pages.keep_pages()
        self.steps = steps
        config = recipe(method)
        objective = find(method)(*architecture(config), config, 1000, 100)
        arguments = [objective.encoder] + [objective.decoder] * (objective.decoder is not None)
        self.step = getattr(twin, type(objective).__name__)(*arguments)
        self.images = torch.randn(batch, 2, 3, *objective.encoder.image_size)
        self.labels = torch.randint(0, 24, (batch,))

    def __call__(self) -> int:
        for _ in range(self.steps):
            self.step(self.images, self.labels)
        return twin.count(self.step.model)


def rows(quick: bool) -> list[Row]:
    methods, batch, steps, runs = (METHODS[:1], 8, 1, 1) if quick else (METHODS, 64, 4, 11)
    rows = []
    for method in methods:
        with contextlib.ExitStack() as stack:
            sides = {
                name: stack.enter_context(Apart(make, method, batch, steps, flag))
                for name, make, flag in (
                    ("ours", Ours, False),
                    ("theirs", Theirs, False),
                    ("kept", Theirs, True),
                    ("views", Ours, True),
                )
            }
            counts = {name: side() for name, side in sides.items()}
            expected = counts["theirs"]
            assert abs(counts["ours"] - expected) <= 0.001 * expected, (method, counts)
            seconds = medians(runs, **sides)
        rates = {name: steps * batch / elapsed for name, elapsed in seconds.items()}
        what, unit = f"{method}, steps", "images/s"
        rows += [
            faster(what, rates["ours"], rates["theirs"], "PyTorch eager", goal=1, unit=unit),
            faster(what, rates["ours"], rates["kept"], "PyTorch eager, memory kept", unit=unit),
            value(f"{method}, steps including views", rates["views"], unit),
        ]
    return rows

"""Pretraining steps per second against plain PyTorch: python -m benchmarks pretraining

One method of each kind (supervised DeiT, contrastive MoCo v3, masked MAE) at the embedded sizes:
forward, backward, AdamW and moving average, on both sides from finished views of 64 pixels (ours cut
them once more, as a crop of the whole image). The whole step with its views is stated beside it.
PyTorch's runs eagerly with all cores, of timm's blocks. The C library keeps memory as it does when
jaxpart pretrains, for both sides.
"""

from __future__ import annotations

import jax
import numpy as np
import torch

from benchmarks import torch_pretraining as twin
from benchmarks.measuring import Row, faster, medians, value
from jaxpart import devices, memory
from jaxpart.pretraining.objective import find
from jaxpart.pretraining.recipe import architecture
from jaxpart.pretraining.step import make_optimizer, make_step, start
from jaxpart.pretraining.zoo import recipe_of

METHODS = ("deit", "mocov3", "mae")


def plain(config) -> None:
    """Takes all that is random out of the views and the labels."""
    view = config.views["pair" if "pair" in config.views else "view"]
    view.update(scale=(1.0, 1.0), flip=0.0)
    for name in ("jitter_chance", "gray", "blur", "solarize"):
        if name in view:
            del view[name]
    if config.method == "deit":
        config.objective.update(rand_augment=0.0, erase=0.0, mixup=0.0)


class Ours:
    """A method's step with its state."""

    def __init__(self, method: str, batch: int, steps: int, *, views: bool):
        self.steps = steps
        config = recipe_of(method)
        config.unlock()
        config.batch_size = batch
        if not views:
            plain(config)
        size = config.data.image_size if views else 64
        self.objective = find(method)(*architecture(config), config, 1000, 100)
        optimizer, rate = make_optimizer(config.optimizer, batch, 1000, 100)
        graph, state = start(self.objective, optimizer, 0)
        self.parameters = sum(x.size for x in jax.tree.leaves(state.trained))
        self.state = devices.replicate(state)
        self.step = make_step(self.objective, graph, optimizer, rate, 0)
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (batch, size, size, 3)).astype(np.uint8)
        labels = random.integers(0, 24, batch).astype(np.int32)
        self.batch = devices.shard({"image": images, "label": labels})

    def __call__(self) -> None:
        for _ in range(self.steps):
            self.state, metrics = self.step(self.state, self.batch)
        float(metrics["loss"])


class Theirs:
    """The same in PyTorch."""

    def __init__(self, objective, batch: int, steps: int):
        self.steps = steps
        arguments = [objective.encoder] + [objective.decoder] * (objective.decoder is not None)
        self.step = getattr(twin, type(objective).__name__)(*arguments)
        self.images = torch.randn(batch, 2, 3, 64, 64)
        self.labels = torch.randint(0, 24, (batch,))

    def __call__(self) -> None:
        for _ in range(self.steps):
            self.step(self.images, self.labels)


def rows(quick: bool) -> list[Row]:
    memory.keep_pages()
    methods, batch, steps, runs = (METHODS[:1], 8, 1, 1) if quick else (METHODS, 64, 5, 5)
    rows = []
    for method in methods:
        ours = Ours(method, batch, steps, views=False)
        whole = Ours(method, batch, steps, views=True)
        theirs = Theirs(ours.objective, batch, steps)
        expected, found = twin.count(theirs.step.model), ours.parameters
        assert abs(found - expected) <= 0.001 * expected, (method, found, expected)
        ours(), whole(), theirs()
        seconds = medians(runs, ours=ours, whole=whole, theirs=theirs)
        mine, views, other = (steps * batch / taken for taken in seconds.values())
        rows += [
            faster(f"{method}, steps", mine, other, "PyTorch eager", goal=1, unit="images/s"),
            value(f"{method}, steps with their views", views, "images/s"),
        ]
        jax.clear_caches()
    return rows

"""Controls for critters: how well pixels, an untrained encoder, and supervised encoders do.

`python -m jaxpart.data check critters --baselines` prints them next to the requirements of version 2:
pixels and an untrained encoder must retrieve hardly any parts, and an encoder trained on part labels nearly
all; an encoder trained on kinds must recognise them from the whole critter, but not from one part.
"""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxpart.config import part_config
from jaxpart.data.critters import CRITTER_PARTS, Critters
from jaxpart.data.critters.species import NAMES
from jaxpart.data.parts import part_patches
from jaxpart.data.views import patch_view
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.loading import load_encoder, random_encoder
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError
from jaxpart.features.pixels import SIDE, cell_means
from jaxpart.metrics.average_precision import average_precision
from jaxpart.pretraining.pool import Pool, pool_supply, read_pool
from jaxpart.pretraining.recipe import critters_config
from jaxpart.pretraining.run import pretrain
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import select
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.plans import carry_out
from jaxpart.tasks.retrieval import plan

_BATCH = 100
_PATCH_SIDE, _WHOLE_SIDE = 64, 96
_PART_VIEWS, _KIND_BY_PART_VIEWS, _KIND_VIEWS = 108_000, 240_000, 480_000
"""Training views: the shape of a part takes more than its name, and a combination of shapes still more."""


class Control(NamedTuple):
    """A measurement and its required range.

    Attributes:
      name: What was measured.
      value: A fraction from 0 to 1.
      low: Required minimum, or None.
      high: Required maximum, or None.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def passed(self) -> bool:
        """Whether it is within its limits."""
        above = self.low is None or self.value >= self.low
        return above and (self.high is None or self.value <= self.high)


def untrained_controls(source: Critters, progress: Progress) -> list[Control]:
    """AP of part retrieval by chance, mean colour, pixels and an untrained encoder's embedding.

    Pixels are the means of 12 × 12 cells, once minus their mean over all patches (as in part retrieval's
    table), and once minus each patch's own mean.

    Args:
      source: The split whose part patches are retrieved.
      progress: Shows the progress.
    """
    config = part_config("deit", "", projector=False)
    config.tasks = ("retrieval",)
    config.features.cache = "off"
    config.retrieval.representations = ("embedding",)
    config.retrieval.untrained = False  # the encoder is untrained itself
    encoder = random_encoder("deit", small_config("deit"))
    retrieval = plan(encoder, "critters", source, CRITTER_PARTS, config, progress)
    with tempfile.TemporaryDirectory() as folder:
        workdir = WorkDir(pathlib.Path(folder), config.to_dict())
        rows = list(carry_out([retrieval], config.features, workdir, progress))
    ap = {(row.head, row.representation): row.value for row in select(rows, metric="AP", group="")}
    chance = ap["baseline", "chance"]
    patches = labelled_patches(source)
    cells = np.asarray(cell_means(jnp.asarray(patches.pixels))).reshape(-1, SIDE**2, 3)
    cells = cells - cells.mean(axis=1, keepdims=True)
    labels = patches.parts.tolist()
    colour = average_precision(cells.reshape(len(cells), -1), labels).ap
    grey = average_precision(cells.mean(axis=2), labels).ap
    return [
        Control("chance", chance),
        Control("mean colour", ap["baseline", "mean_colour"], high=chance + 0.02),
        Control("12 × 12 pixels, colour", ap["baseline", "pixels12_colour"], high=chance + 0.04),
        Control("12 × 12 pixels, grey", ap["baseline", "pixels12_grey"], high=chance + 0.04),
        Control("12 × 12 pixels, colour, each patch centred", colour, high=chance + 0.04),
        Control("12 × 12 pixels, grey, each patch centred", grey, high=chance + 0.04),
        Control("untrained encoder, embedding", ap["", "embedding"], high=chance + 0.05),
    ]


def part_controls(train: Critters, test: Critters, progress: Progress) -> list[Control]:
    """AP and accuracy on one split of an encoder trained on the part labels of another.

    Retrieval is by class scores.

    Args:
      train: Split to train on.
      test: Split to retrieve in; its individuals are not in `train`.
      progress: Shows the progress.
    """
    patches = labelled_patches(train)
    encoder = _train(patches.pixels, patches.parts, len(CRITTER_PARTS.parts), _PART_VIEWS, progress)
    patches = labelled_patches(test)
    scores = _scores(encoder, patches.pixels)
    ap = average_precision(scores, patches.parts.tolist()).ap
    return [
        Control("trained with part labels, class scores", ap, low=0.8),
        Control("trained with part labels, accuracy", _accuracy(scores, patches.parts)),
    ]


def kind_controls(train: Critters, test: Critters, progress: Progress) -> list[Control]:
    """Accuracy on one split of encoders trained on the kinds of another.

    One is trained on part patches labelled with the kind of their critter, which shows what a part reveals
    of the kind. The other is trained on whole critters.

    Args:
      train: Split to train on.
      test: Split to classify; its individuals are not in `train`.
      progress: Shows the progress.
    """
    patches = labelled_patches(train)
    encoder = _train(patches.pixels, patches.kinds, len(NAMES), _KIND_BY_PART_VIEWS, progress)
    patches = labelled_patches(test)
    part = _accuracy(_scores(encoder, patches.pixels), patches.kinds)
    wholes = read_pool(train, _WHOLE_SIDE)
    encoder = _train(wholes.images, wholes.labels, len(NAMES), _KIND_VIEWS, progress)
    wholes = read_pool(test, _WHOLE_SIDE)
    whole = _accuracy(_scores(encoder, wholes.images), wholes.labels)
    return [
        Control("trained with kinds on one part, accuracy", part, high=0.35),
        Control("trained with kinds on whole critters, accuracy", whole, low=0.9),
    ]


class Patches(NamedTuple):
    """Part patches: pixels, the index of each patch's part, and the kind of its critter."""

    pixels: UInt8[np.ndarray, "patch size size 3"]
    parts: Int[np.ndarray, " patch"]
    kinds: Int[np.ndarray, " patch"]


def labelled_patches(source: Critters) -> Patches:
    """All part patches of a split, resized to 64 pixels."""
    patches = part_patches(source, CRITTER_PARTS)
    if not patches:
        raise JaxpartError("these critters have no part patches; draw more or larger images")
    view = patch_view(source, patches, size=_PATCH_SIDE)
    order = list(CRITTER_PARTS.parts)
    pixels: list[Any] = list(view.read(range(len(patches))))
    return Patches(
        np.stack(pixels),
        np.array([order.index(patch.part) for patch in patches]),
        np.array([patch.index % len(NAMES) for patch in patches]),  # image i shows kind i mod 24
    )


def _scores(encoder: Encoder, images: np.ndarray) -> Float[np.ndarray, "image class"]:
    batches = [jnp.asarray(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)]
    out = [np.asarray(encoder(encoder.normalize(batch))["projection"]) for batch in batches]
    return np.concatenate(out)


def _accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float((scores.argmax(axis=1) == labels).mean())


def _train(
    images: np.ndarray, labels: np.ndarray, classes: int, views: int, progress: Progress
) -> Encoder:
    """Supervised training of a small ViT with MoCo v3's convolutional stem, on views of any hue."""
    config = critters_config("deit")
    config.data.zoom = 1.0
    config.epochs = max(2, round(views / len(images)))
    config.optimizer.lr, config.optimizer.b2 = 8e-3, 0.99
    config.optimizer.clip, config.optimizer.clip_norm = "global", 1.0
    side = images.shape[1]
    config.encoder.update(image_size=(side, side), depth=2)
    config.projector.out = classes
    jitter = {"jitter": (0.0, 0.0, 0.0, 0.5), "jitter_chance": 1.0}
    config.views.view = {"size": side, "scale": (0.8, 1.0)} | jitter
    config.log_every, config.validation.points = 100, 0
    config.objective.update(rand_augment=0.0, erase=0.0, mixup=0.0, cutmix=0.0, smoothing=0.0)
    ids = tuple(map(str, range(len(labels))))
    supply = pool_supply(Pool(images, labels.astype(np.int32), ids), config.batch_size, config.seed)
    with tempfile.TemporaryDirectory() as folder:
        workdir = WorkDir(pathlib.Path(folder), config.to_dict())
        pretrain(config, workdir, progress, supply=supply)
        return load_encoder(pathlib.Path(folder) / "encoder")

"""What critters can be solved by: part retrieval by pixels, by no training, and by training on labels.

`python -m jaxpart.data check critters --version 2 --baselines` shows it, beside what is required of version
2: pixels and an untrained encoder are to find next to nothing, and an encoder that was shown the parts'
labels nearly everything.
"""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from jaxpart.config import part_config
from jaxpart.data.critters import CRITTER_PARTS, Critters
from jaxpart.data.parts import part_patches
from jaxpart.data.views import patch_view
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.loading import load_encoder, random_encoder
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError
from jaxpart.features.pixels import SIDE, cell_means
from jaxpart.metrics.average_precision import average_precision
from jaxpart.pretraining.pool import Pool, pool_supply
from jaxpart.pretraining.recipe import pretrain_config
from jaxpart.pretraining.run import pretrain
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import select
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.plans import carry_out
from jaxpart.tasks.retrieval import plan

_BATCH = 100


class Control(NamedTuple):
    """A measurement and what is required of it.

    Attributes:
      name: What was measured.
      value: A share of 1.
      low: The least it may be, or None.
      high: The most it may be, or None.
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

    Pixels are the means of 12 × 12 cells, once less their mean over all patches (as in part retrieval's
    table), and once less each patch's own mean.

    Args:
      source: The split whose part patches are retrieved.
      progress: Shows how far it is.
    """
    config = part_config("deit", "", projector=False)
    config.tasks = ("retrieval",)
    config.features.cache = "off"
    config.retrieval.representations = ("embedding",)
    config.retrieval.untrained = False  # the encoder is untrained itself
    encoder = random_encoder("deit", small_config("deit"))
    one = plan(encoder, "critters", source, CRITTER_PARTS, config, progress)
    with tempfile.TemporaryDirectory() as folder:
        workdir = WorkDir(pathlib.Path(folder), config.to_dict())
        rows = list(carry_out([one], config.features, workdir, progress))
    ap = {(row.head, row.representation): row.value for row in select(rows, metric="AP", group="")}
    chance = ap["baseline", "chance"]
    images, labels = labelled_patches(source, encoder.config.image_size[0])
    cells = np.asarray(cell_means(jnp.asarray(images))).reshape(-1, SIDE**2, 3)
    cells = cells - cells.mean(axis=1, keepdims=True)
    colour = average_precision(cells.reshape(len(cells), -1), labels.tolist()).ap
    grey = average_precision(cells.mean(axis=2), labels.tolist()).ap
    return [
        Control("chance", chance),
        Control("mean colour", ap["baseline", "mean_colour"], high=chance + 0.02),
        Control("12 × 12 pixels, colour", ap["baseline", "pixels12_colour"], high=chance + 0.04),
        Control("12 × 12 pixels, grey", ap["baseline", "pixels12_grey"], high=chance + 0.04),
        Control("12 × 12 pixels, colour, each patch centred", colour, high=chance + 0.04),
        Control("12 × 12 pixels, grey, each patch centred", grey, high=chance + 0.04),
        Control("untrained encoder, embedding", ap["", "embedding"], high=chance + 0.05),
    ]


def part_control(
    train: Critters, test: Critters, progress: Progress, *, epochs: int = 9
) -> list[Control]:
    """AP and accuracy on a split of an encoder that was trained with the part labels of another.

    A small ViT behind MoCo v3's convolutions, on patches of 64 pixels. Retrieval is by its class scores.

    Args:
      train: Trained on.
      test: Retrieved; individuals that were never seen.
      progress: Shows how far it is.
      epochs: Times that each patch is seen.
    """
    images, labels = labelled_patches(train, 64)
    encoder = _train(images, labels, len(CRITTER_PARTS.parts), epochs, progress)
    images, labels = labelled_patches(test, 64)
    batches = [jnp.asarray(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)]
    out = [np.asarray(encoder(encoder.normalize(batch))["projection"]) for batch in batches]
    scores = np.concatenate(out)
    return [
        Control(
            "trained with part labels, class scores",
            average_precision(scores, labels.tolist()).ap,
            low=0.8,
        ),
        Control(
            "trained with part labels, accuracy", float((scores.argmax(axis=1) == labels).mean())
        ),
    ]


def labelled_patches(
    source: Critters, size: int
) -> tuple[UInt8[np.ndarray, "patch size size 3"], Int[np.ndarray, " patch"]]:
    """The pixels of all part patches of a split, and the number of each one's part."""
    patches = part_patches(source, CRITTER_PARTS)
    if not patches:
        raise JaxpartError("these critters have no part patches; draw more or larger images")
    view = patch_view(source, patches, size=size)
    order = list(CRITTER_PARTS.parts)
    pixels: list[Any] = list(view.read(range(len(patches))))
    return np.stack(pixels), np.array([order.index(patch.part) for patch in patches])


def _train(
    images: np.ndarray, labels: np.ndarray, classes: int, epochs: int, progress: Progress
) -> Encoder:
    """Supervised training with crops and flips alone."""
    config, _ = pretrain_config("deit", None)
    config.epochs = epochs
    config.optimizer.lr = 6e-3
    config.encoder.update(stem="conv", patch_size=16, width=96, depth=4, num_heads=4, mlp_width=384)
    config.projector.out = classes
    config.views.view = {"size": images.shape[1], "scale": (0.8, 1.0)}
    config.objective.update(rand_augment=0.0, erase=0.0, mixup=0.0, cutmix=0.0, smoothing=0.05)
    ids = tuple(map(str, range(len(labels))))
    supply = pool_supply(Pool(images, labels.astype(np.int32), ids), config.batch_size, config.seed)
    with tempfile.TemporaryDirectory() as folder:
        workdir = WorkDir(pathlib.Path(folder), config.to_dict())
        pretrain(config, workdir, progress, supply=supply)
        return load_encoder(pathlib.Path(folder) / "encoder")

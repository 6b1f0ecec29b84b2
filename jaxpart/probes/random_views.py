"""Images under a new random view in every epoch: encoding is part of the training step."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpart import devices
from jaxpart.data.augment import ImageTrain
from jaxpart.data.source import Source
from jaxpart.data.subset import Subset
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.features.representations import represent
from jaxpart.probes.items import Batches, Items, TrainPiece
from jaxpart.probes.recipe import Recipe


@dataclasses.dataclass(frozen=True, eq=False)
class RandomViews:
    """Labelled images for training heads, like `Items`, under random crops and flips.

    Attributes:
      encoder: The frozen encoder, on all devices.
      source: The images.
      names: Representations of one shape, see `represent`.
      size: Side of a crop in pixels.
      seed: Draws order and crops, shared by all heads; the heads' own seeds only initialise them.
      workers: See `jaxpart.data.input.load`.
      subset: Computes test features of the given images, skipping unreadable ones.
    """

    encoder: FrozenEncoder
    source: Source
    names: tuple[str, ...]
    size: int
    seed: int
    workers: int
    subset: Callable[[Int[np.ndarray, " item"]], Items]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source)

    @functools.cached_property
    def gather(self) -> Callable[[FrozenEncoder, tuple[Array, Array]], tuple[Array, Array]]:
        """Pixels and labels → features [representation, 1, batch, …] and labels [1, batch]."""
        return functools.partial(_encoded, names=self.names)

    def batches(
        self, items: Int[np.ndarray, " item"], recipe: Recipe, seeds: Sequence[int], memory: int
    ) -> ViewBatches:
        """Batches of views of some images; the arguments are those of `Items.batches`.

        Raises:
          JaxpartError: The devices cannot share a batch evenly.
        """
        every = len(items) == len(self)
        source = self.source if every else Subset(self.source, items.tolist())
        return ViewBatches(self, source, recipe)


class ViewBatches(Batches):
    """Batches of images from a loader.

    An epoch is as many whole batches as the data set has, and the next goes on where it ends, so that no
    image is left out for good.
    """

    def __init__(self, views: RandomViews, source: Source, recipe: Recipe) -> None:
        """Opens the images; see `RandomViews.batches`."""
        from jaxpart.data.input import load  # Slow to import, and not needed with cached features.

        batch = min(recipe.batch_size, len(source))
        devices.check_batch(batch, "a head's batch_size")
        self._recipe, self.pieces = recipe, len(source) // batch
        self.arrays, self.gather = views.encoder, views.gather
        self._loader = load(
            source,
            ImageTrain(views.size),
            batch_size=batch,
            shuffle=True,
            epochs=None,
            seed=views.seed,
            workers=views.workers,
            process_index=devices.process_index(),
            process_count=devices.num_processes(),
        )

    def piece(self, epoch: int, number: int) -> tuple[TrainPiece, tuple[str, ...]]:
        """The next step of an epoch, and names of its images for messages."""
        batch = next(self._loader)
        arrays = batch.arrays["image"][None], batch.arrays["label"][None]
        rates = self._recipe.rates_at(epoch, range(number, number + 1), self.pieces)
        piece = TrainPiece(devices.shard(arrays, axis=1), devices.replicate(rates), None)
        return piece, batch.ids

    def get_state(self) -> dict[str, Any]:
        """The loader's position."""
        return self._loader.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Moves the loader to a position."""
        self._loader.set_state(state)

    def close(self) -> None:
        """Ends the loader's threads and processes."""
        self._loader.close()


def _encoded(
    encoder: FrozenEncoder, batch: tuple[Array, Array], *, names: tuple[str, ...]
) -> tuple[Float[Array, "representation 1 batch ..."], Int[Array, "1 batch"]]:
    images, labels = batch
    found = represent(encoder, images, names=names)
    return jnp.stack([found[name] for name in names])[:, None], labels[None]

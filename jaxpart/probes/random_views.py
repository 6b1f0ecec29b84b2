"""Heads trained on random views: the encoder and all heads in one compiled step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from jaxpart import devices
from jaxpart.data.input import Loader
from jaxpart.probes.probing import Work
from jaxpart.probes.recipe import Recipe
from jaxpart.probes.sweep import Sweep, Training

Represent = Callable[
    [Any, UInt8[Array, "batch height width 3"]], Sequence[Float[Array, "batch ..."]]
]
"""The frozen encoder: (its arrays, pixels) → the representations, of one shape."""


class ViewSteps:
    """Steps on images as a loader draws them, for `jaxpart.probes.probing.run`.

    All heads see the same images: a seed draws the head alone. An epoch is as many whole batches as
    the data set has, and the next goes on where it ends, so that no image is left out for good.

    Attributes:
      pieces: Steps of an epoch.
    """

    pieces: int

    def __init__(
        self,
        sweep: Sweep,
        represent: Represent,
        encoder: Any,
        loader: Loader,
        records: int,
        recipe: Recipe,
        batch: int,
        seeds: int,
    ) -> None:
        """Compiles nothing yet.

        Args:
          sweep: The heads.
          represent: The frozen encoder.
          encoder: Its arrays, on all devices.
          loader: Endless, shuffled, giving "image" and "label".
          records: Number of training images.
          recipe: How heads are trained.
          batch: Images of a step over all processes.
          seeds: Number of seeds.

        Raises:
          JaxpartError: The devices cannot share a batch evenly.
        """
        devices.check_batch(batch, "a head's batch_size")
        self._loader, self._recipe, self._batch, self._encoder = loader, recipe, batch, encoder
        self.pieces = records // batch

        @functools.partial(jax.jit, donate_argnums=0)
        def step(
            state: Training,
            encoder: Any,
            images: UInt8[Array, "batch height width 3"],
            labels: Int[Array, " batch"],
            rates: Float[Array, "1 rate"],
        ) -> tuple[Training, dict[str, Array]]:
            found = jax.lax.stop_gradient(jnp.stack(represent(encoder, images)))
            seen = jnp.broadcast_to(found[None, :, None], (1, len(found), seeds, *found.shape[1:]))
            classes = jnp.broadcast_to(labels, (1, seeds, *labels.shape))
            return sweep.train(state, None, (seen, classes), rates)

        self._step = step

    def __call__(self, epoch: int, piece: int) -> tuple[Callable[[], Work], tuple[str, ...]]:
        """The next step: see `Steps`."""
        batch = next(self._loader)

        def bring() -> Work:
            arrays = devices.shard((batch.arrays["image"], batch.arrays["label"]))
            rates = self._recipe.rates_at(epoch, range(piece, piece + 1), self.pieces)
            rates = devices.replicate(rates)
            return lambda state: self._step(state, self._encoder, *arrays, rates)

        return bring, batch.ids

    def get_state(self) -> dict[str, Any]:
        """The loader's place."""
        return self._loader.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Sends the loader to a place."""
        self._loader.set_state(state)

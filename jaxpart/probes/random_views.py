"""Images under a new random view in every epoch, each encoded once for all heads that train on it."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from jaxpart import devices
from jaxpart.data.augment import ImageTrain
from jaxpart.data.source import Source
from jaxpart.data.subset import Subset
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.features.representations import represent
from jaxpart.probes.items import Batches, Items, TrainPiece
from jaxpart.probes.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class RandomViews:
    """Labelled images under random crops and flips, for training the heads of several sweeps.

    Attributes:
      encoder: The frozen encoder, on all devices.
      source: The images.
      names: Each sweep's representations, of one shape, see `represent`.
      size: Side of a crop in pixels.
      seed: Seed of order and crops, shared by all heads; their own seeds only initialise them.
      workers: See `jaxpart.data.input.load`.
      tests: Computes each sweep's test features of the given images, skipping unreadable ones.
    """

    encoder: FrozenEncoder
    source: Source
    names: tuple[tuple[str, ...], ...]
    size: int
    seed: int
    workers: int
    tests: Callable[[Int[np.ndarray, " item"]], Sequence[Items]]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source)

    def batches(
        self, items: Int[np.ndarray, " item"], recipes: Sequence[Recipe]
    ) -> list[ViewBatches]:
        """Each sweep's batches of views of some images.

        All see the same views in the same order. A view is encoded once for all sweeps whose batches are
        multiples of the smallest one; for other sizes it is encoded again.

        Raises:
          JaxpartError: The devices cannot share a batch evenly.
        """
        uses_all = len(items) == len(self)
        source = self.source if uses_all else Subset(self.source, items.tolist())
        sizes = [min(recipe.batch_size, len(source)) for recipe in recipes]
        for size in sizes:
            devices.check_batch(size, "a head's batch_size")
        parts = shared_parts(sizes)
        streams = {part: _Stream(self, source, part) for part in set(parts.values())}
        return [
            ViewBatches(streams[parts[size]], names, recipe, size)
            for names, recipe, size in zip(self.names, recipes, sizes, strict=True)
        ]


def shared_parts(sizes: Iterable[int]) -> dict[int, int]:
    """For each batch size, the number of views encoded at once: the smallest size that divides it."""
    parts: dict[int, int] = {}
    for size in sorted(set(sizes)):
        parts[size] = next((part for part in parts.values() if size % part == 0), size)
    return parts


class ViewBatches(Batches):
    """A sweep's batches of encoded views.

    An epoch is as many full batches as the data set holds, and the next continues where it ends, so that
    no image is excluded for good.

    Attributes:
      names: Representations that the sweep is trained on.
      read: Parts of the stream received so far, including those held for the next batch.
      total: Parts to receive in all.
    """

    def __init__(self, stream: _Stream, names: tuple[str, ...], recipe: Recipe, size: int) -> None:
        """Takes batches of a size from a stream; see `RandomViews.batches`."""
        self._stream, self._recipe, self.names = stream, recipe, names
        self._parts, self.pieces = size // stream.size, stream.images // size
        self._held: collections.deque[tuple[Array, Array, tuple[str, ...]]] = collections.deque()
        self.read, self.total = 0, recipe.epochs * self.pieces * self._parts
        stream.readers.append(self)

    @staticmethod
    def gather(arrays: None, parts: tuple[tuple[Array, Array], ...]) -> tuple[Array, Array]:
        """Features [representation, 1, batch, …] and labels [1, batch] of a batch from its parts."""
        features, labels = zip(*parts, strict=True)
        return jnp.concatenate(features, axis=2), jnp.concatenate(labels, axis=1)

    @property
    def due(self) -> int:
        """The number of images in the stream up to the end of the next batch."""
        return (self.read - len(self._held) + self._parts) * self._stream.size

    def hold(self, features: Array, labels: Array, ids: tuple[str, ...]) -> None:
        """Receives the next part of the stream."""
        self._held.append((features, labels, ids))
        self.read += 1

    def piece(self, epoch: int, number: int) -> tuple[TrainPiece, tuple[str, ...]]:
        """The next step of an epoch, and names of its images for messages."""
        while len(self._held) < self._parts:
            self._stream.read()
        parts = [self._held.popleft() for _ in range(self._parts)]
        rates = self._recipe.rates_at(epoch, range(number, number + 1), self.pieces)
        batches = tuple((features, labels) for features, labels, _ in parts)
        ids = tuple(name for _, _, names in parts for name in names)
        return TrainPiece(batches, devices.replicate(rates), None), ids

    def get_state(self) -> dict[str, Any]:
        """Its position in the stream."""
        return self._stream.state(self.read - len(self._held))

    def set_state(self, state: dict[str, Any]) -> None:
        """Moves to a position; the stream rewinds to its slowest reader."""
        self._held.clear()
        self.read = int(state["next_batch"])
        self._stream.rewind(state)

    def close(self) -> None:
        """Stops the loader's threads and processes."""
        self._stream.close()


class _Stream:
    """Views in the loader's order, encoded part by part."""

    def __init__(self, views: RandomViews, source: Source, size: int) -> None:
        from jaxpart.data.input import load  # Slow to import, and not needed with cached features.

        self.images, self.size, self.readers = len(source), size, list[ViewBatches]()
        self._encoder, self._next = views.encoder, 0
        self._loader = load(
            source,
            ImageTrain(views.size),
            batch_size=size,
            shuffle=True,
            epochs=None,
            seed=views.seed,
            workers=views.workers,
            process_index=devices.process_index(),
            process_count=devices.num_processes(),
        )

    def read(self) -> None:
        """Encodes the next part, and passes it to all readers that have not had it.

        It is encoded for every unfinished reader, even one that has had it, so that results are
        bit-identical after a resume from any point.
        """
        batch = next(self._loader)
        images = devices.shard(batch.arrays["image"])
        labels = devices.shard(batch.arrays["label"][None, None], axis=2)
        readers = [reader for reader in self.readers if self._next < reader.total]
        names = tuple(reader.names for reader in readers)
        groups = encoded(self._encoder, images, names=names)
        for reader, features in zip(readers, groups, strict=True):
            if reader.read == self._next:
                reader.hold(features, labels, batch.ids)
        self._next += 1

    def state(self, position: int) -> dict[str, Any]:
        """The loader's state after a number of parts."""
        return {**self._loader.get_state(), "next_batch": position}

    def rewind(self, state: dict[str, Any]) -> None:
        """Moves to the position of the slowest unfinished reader."""
        positions = [reader.read for reader in self.readers if reader.read < reader.total]
        self._next = min(positions, default=0)
        self._loader.set_state({**state, "next_batch": self._next})

    def close(self) -> None:
        """Stops the loader."""
        self._loader.close()


@functools.partial(jax.jit, static_argnames="names")
def encoded(
    encoder: FrozenEncoder,
    images: UInt8[Array, "batch height width 3"],
    *,
    names: tuple[tuple[str, ...], ...],
) -> list[Float[Array, "1 representation 1 batch ..."]]:
    """Features of images for each group of names, with axes of one step and one seed for all."""
    features = represent(encoder, images, names=tuple({n: None for group in names for n in group}))
    return [jnp.stack([features[name] for name in group])[None, :, None] for group in names]

"""Some of a data set's images, as a data set."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from jaxpart.data.source import Annotation, Record, Source


class Subset:
    """Chosen images of a `Source`, in the order given."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        """Reads nothing.

        Args:
          source: The whole.
          indices: Which of its images.
        """
        self._source, self._indices = source, tuple(map(int, indices))
        chosen = zlib.crc32(repr(self._indices).encode())
        version = f"{source.info.version}-{chosen:08x}"
        self.info = dataclasses.replace(source.info, version=version)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._indices)

    def annotation(self, index: int) -> Annotation:
        """What is known of the image, see `Source`."""
        return self._source.annotation(self._indices[index])

    def __getitem__(self, index: int) -> Record:
        """The image, see `Source`."""
        return self._source[self._indices[index]]


def random_subset(source: Source, count: int, seed: int) -> Subset:
    """`count` images, drawn without replacement, at least one and at most all.

    Of one seed, a smaller subset is part of every larger one.
    """
    order = np.random.default_rng(seed).permutation(len(source))
    return Subset(source, sorted(order[: max(count, 1)].tolist()))

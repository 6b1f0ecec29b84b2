"""A data set's images, some of them or all kept in memory, as a data set."""

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

    def origin(self, index: int) -> Sequence[str] | str:
        """Where the image is from, see `Source`."""
        return self._source.origin(self._indices[index])

    def __getitem__(self, index: int) -> Record:
        """The image, see `Source`."""
        return self._source[self._indices[index]]


def random_subset(source: Source, count: int, seed: int) -> Subset:
    """`count` images, drawn without replacement, at least one and at most all.

    Of one seed, a smaller subset is part of every larger one.
    """
    order = np.random.default_rng(seed).permutation(len(source))
    return Subset(source, sorted(order[: max(count, 1)].tolist()))


class InMemory:
    """A `Source` whose images are read (or drawn) once: for small sets that are passed often."""

    def __init__(self, source: Source) -> None:
        """Reads nothing yet.

        Args:
          source: What is kept, encoded as it is.
        """
        self._source, self.info = source, source.info
        self._records: dict[int, Record] = {}

    def __len__(self) -> int:
        """Number of images."""
        return len(self._source)

    def annotation(self, index: int) -> Annotation:
        """What is known of the image, see `Source`."""
        return self._source.annotation(index)

    def origin(self, index: int) -> Sequence[str] | str:
        """Where the image is from, see `Source`."""
        return self._source.origin(index)

    def __getitem__(self, index: int) -> Record:
        """The image, see `Source`."""
        if index not in self._records:  # two threads may read one at once; they read the same
            self._records[index] = self._source[index]
        return self._records[index]

"""Data sets derived from others: subsets, renumbered labels or parts, and copies in memory."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from jaxpart.data.label_maps import encoded
from jaxpart.data.source import Annotation, Record, Source
from jaxpart.errors import JaxpartError


class Subset:
    """Some images of a `Source`, in the order of their indices."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        """Reads nothing."""
        self._source, self._indices = source, tuple(map(int, indices))
        chosen = zlib.crc32(repr(self._indices).encode())
        version = f"{source.info.version}-{chosen:08x}"
        self.info = dataclasses.replace(source.info, version=version)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._indices)

    def annotation(self, index: int) -> Annotation:
        """The image's annotation, see `Source`."""
        return self._source.annotation(self._indices[index])

    def origin(self, index: int) -> Sequence[str] | str:
        """The image's origin, see `Source`."""
        return self._source.origin(self._indices[index])

    def __getitem__(self, index: int) -> Record:
        """The image, see `Source`."""
        return self._source[self._indices[index]]


def drawn_images(source: Source, count: int, seed: int) -> list[int]:
    """Indices of `count` random images, ascending; 0: all.

    With the same seed, larger samples contain smaller ones.
    """
    order = np.random.default_rng(seed).permutation(len(source))
    return sorted(order[: count or None].tolist())


def random_subset(source: Source, count: int, seed: int) -> Subset:
    """`count` random images, at least one and at most all: see `drawn_images`."""
    return Subset(source, drawn_images(source, max(count, 1), seed))


class _Renumbered(Subset):
    """Images of a `Source` with other annotations."""

    def _renumbered(self, annotation: Annotation) -> Annotation:
        raise NotImplementedError

    def annotation(self, index: int) -> Annotation:
        """The image's annotation, see `Source`."""
        return self._renumbered(super().annotation(index))

    def __getitem__(self, index: int) -> Record:
        """The image, see `Source`."""
        record = super().__getitem__(index)
        return dataclasses.replace(record, annotation=self._renumbered(record.annotation))


class Classes(_Renumbered):
    """The images of some classes of a `Source`, relabelled 0, 1, … in the order of `labels`."""

    def __init__(self, source: Source, labels: Sequence[int]) -> None:
        """Reads the annotations only."""
        self._label_of = {old: new for new, old in enumerate(labels)}
        kept = [i for i in range(len(source)) if source.annotation(i).label in self._label_of]
        super().__init__(source, kept)
        names = tuple(source.info.class_names[label] for label in labels)
        self.info = dataclasses.replace(self.info, class_names=names)

    def _renumbered(self, annotation: Annotation) -> Annotation:
        return dataclasses.replace(annotation, label=self._label_of[annotation.label or 0])


class RenumberedParts(_Renumbered):
    """A `Source` whose keypoints get the part ids of another `Source`, by name."""

    def __init__(self, source: Source, part_names: Mapping[int, str]) -> None:
        """Reads nothing.

        Args:
          source: The data set.
          part_names: Names by new id.

        Raises:
          JaxpartError: The names differ.
        """
        missing, extra = (
            ", ".join(sorted({*names.values()} - {*others.values()}))
            for names, others in (
                (part_names, source.info.part_names),
                (source.info.part_names, part_names),
            )
        )
        if missing or extra:
            difference = " and ".join(
                f"{verb} {names}" for verb, names in (("lacks", missing), ("adds", extra)) if names
            )
            raise JaxpartError(
                f"{source.info.name} ({source.info.split}) has other keypoints than the training "
                f"split: it {difference}; use the same names in both splits"
            )
        super().__init__(source, range(len(source)))
        id_of = {name: part for part, name in part_names.items()}
        old = source.info.part_names
        self._table = np.zeros(max(old) + 1, np.int64)
        for part, name in old.items():
            self._table[part] = id_of[name]
        note = "its keypoints are in a different order than the training split's; matched by name"
        self.info = dataclasses.replace(
            source.info, part_names=dict(part_names), notes=(*source.info.notes, note)
        )

    def _renumbered(self, annotation: Annotation) -> Annotation:
        keypoints = annotation.keypoints
        if keypoints is None:
            return annotation
        part = self._table[keypoints.part]
        return dataclasses.replace(annotation, keypoints=dataclasses.replace(keypoints, part=part))


class InMemory(Subset):
    """Keeps the encoded images of a small `Source` in memory, so that each is read or drawn once."""

    def __init__(self, source: Source) -> None:
        """Reads nothing yet."""
        super().__init__(source, range(len(source)))
        self.info = source.info
        self._records: dict[int, Record] = {}

    def __getitem__(self, index: int) -> Record:
        """The image, see `Source`."""
        if index not in self._records:  # threads may read an image twice, which is harmless
            self._records[index] = encoded(super().__getitem__(index))
        return self._records[index]

"""Images of a folder with annotations in memory, the base of most readers of official folders."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from jaxpart.data.folders import read_file
from jaxpart.data.source import Annotation, DatasetInfo, Record


class ListedImages:
    """Images of a folder as a `Source`; the annotations' ids are paths below `root`."""

    info: DatasetInfo

    def __init__(
        self, root: pathlib.Path, annotations: Sequence[Annotation], info: DatasetInfo
    ) -> None:
        """Reads nothing."""
        self._root, self._annotations, self.info = root, tuple(annotations), info

    def __len__(self) -> int:
        """Number of images."""
        return len(self._annotations)

    def annotation(self, index: int) -> Annotation:
        """The annotation of an image."""
        return self._annotations[index]

    def origin(self, index: int) -> tuple[str, ...]:
        """The image's file."""
        return (f"{self._root}/{self._annotations[index].id}",)

    def __getitem__(self, index: int) -> Record:
        """An image with its annotation."""
        annotation = self.annotation(index)
        return Record(annotation, read_file(self._root / annotation.id))

"""Images of a folder with annotations in memory, the base of most readers of official folders."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence

from jaxpart.data.folders import read_file
from jaxpart.data.images import SIDEWAYS, read_header
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError


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


def annotated_size(
    file: pathlib.Path, stated: tuple[int, int] | None, rotated: list[str]
) -> tuple[int, int] | None:
    """(width, height) in pixels of an annotated image: as stated, else as stored, else (unreadable) None.

    Its name is added to `rotated` if it has an EXIF orientation that the stated size does not settle.
    """
    try:
        with file.open("rb") as stream:
            header = read_header(stream, str(file))
    except (OSError, JaxpartError):
        return stated  # reading the file will raise
    actual = header.width, header.height
    sideways = header.orientation in SIDEWAYS and stated is not None and actual[0] != actual[1]
    if header.orientation > 1 and not sideways:
        rotated.append(file.name)
    return stated or actual


def rotated_note(rotated: Sequence[str]) -> Iterator[str]:
    """A note on the images that `annotated_size` found rotated, if any."""
    if rotated:
        yield (
            f"images with an EXIF orientation: {len(rotated)} (the first {rotated[0]}); it is not "
            "applied; keypoints are assumed to refer to the image as stored"
        )

"""Images with masks in a COCO-style file, as a `Source` with one label map per image."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxpart.data.coco_file import CocoFile
from jaxpart.data.coco_masks import Mask, draw, read_masks
from jaxpart.data.folders import fingerprint, read_file
from jaxpart.data.images import MAX_PIXELS, check_size, read_header
from jaxpart.data.indexes import kept_labels
from jaxpart.data.label_maps import check_names
from jaxpart.data.masks import Labels
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError


class Labelled(NamedTuple):
    """An annotation: its id, its label and its mask."""

    annotation: int
    label: int
    mask: Mask


def labelled(
    document: CocoFile, labels: Mapping[int, int | None]
) -> tuple[dict[int, list[Labelled]], int]:
    """The annotations with a non-empty mask by image id, in file order.

    Args:
      document: The file.
      labels: Label of each category by its id; None leaves the category out.

    Returns:
      The annotations of each image that has any, and the number of empty masks.

    Raises:
      JaxpartError: A field of the file is invalid.
    """
    images, ids = document.annotated_images().tolist(), document.unique_ids("annotations").tolist()
    categories, masks = (
        document.integers("annotations", "category_id").tolist(),
        read_masks(document),
    )
    of_image: dict[int, list[Labelled]] = {image: [] for image in document.image_ids()}
    empty = 0
    for row, (image, key, category, mask) in enumerate(
        zip(images, ids, categories, masks, strict=True)
    ):
        if category not in labels:
            raise JaxpartError(
                f"{document.path}: annotations[{row}].category_id is {category}, which is not in "
                "'categories'"
            )
        label = labels[category]
        if label is not None:
            empty += mask.empty
            if not mask.empty:
                of_image[image].append(Labelled(key, label, mask))
    return {image: entries for image, entries in of_image.items() if entries}, empty


class MaskedImages:
    """Images of a COCO-style file as a `Source` with one mask, drawn on access.

    Later annotations cover earlier ones. Images without a mask are left out, with a note.
    """

    info: DatasetInfo

    def __init__(
        self,
        name: str,
        split: str,
        document: CocoFile,
        content: bytes,
        annotations: tuple[Mapping[int, Sequence[Labelled]], int],
        images: Mapping[int, tuple[str, pathlib.Path]],
        kind: str,
        names: tuple[str, ...],
    ) -> None:
        """Takes the parsed file.

        Args:
          name: The data set.
          split: Its split.
          document: The file.
          content: Its bytes, for the version.
          annotations: See `labelled`; in drawing order.
          images: Id and file of each image, by the image id in `document`.
          kind: Kind of the mask, "part" or "object".
          names: Name of each label, the background first.

        Raises:
          JaxpartError: The size of an image is missing, or there are more labels than fit into a byte.
        """
        check_names(document.path, names)
        drawn, empty = annotations
        sizes = document.sizes()
        self._file, self._kind = document.path, kind
        self._images = [images[key] for key in drawn]
        self._masks = list(drawn.values())
        self._sizes: list[tuple[int, int]] = []
        for key in drawn:
            size = sizes[key]
            if size is None or size[0] * size[1] > MAX_PIXELS:
                raise JaxpartError(
                    f"{document.path}: the image with id {key} has the size {size}; masks need a width "
                    f"and a height of at most {MAX_PIXELS:,} pixels in all"
                )
            self._sizes.append(size)
        num_without = len(sizes) - len(drawn)
        self.info = DatasetInfo(
            name=name,
            split=split,
            version=fingerprint(content, repr((kind, names))),
            mask_names={kind: names},
            notes=(
                *(
                    [f"{num_without} images without a {kind} mask are left out"]
                    if num_without
                    else []
                ),
                *(
                    [f"{empty} annotations have no polygon of three corners or more"]
                    if empty
                    else []
                ),
            ),
        )

    def __len__(self) -> int:
        """Number of images with a mask."""
        return len(self._images)

    def annotation(self, index: int) -> Annotation:
        """The image's path, and the size that the file states."""
        return Annotation(self._images[index][0], size=self._sizes[index])

    def origin(self, index: int) -> tuple[str, ...]:
        """The image and the file of all masks."""
        return str(self._images[index][1]), str(self._file)

    def __getitem__(self, index: int) -> Record:
        """An image with its mask. Raises `JaxpartError` if its size is not the one the file states."""
        annotation, image = self.annotation(index), read_file(self._images[index][1])
        header = read_header(io.BytesIO(image), annotation.id)
        check_size(annotation.id, header, annotation.size)
        labels = kept_labels(self, index, lambda: self._draw(index))
        return Record(annotation, image, {self._kind: labels})

    def _draw(self, index: int) -> Labels:
        width, height = self._sizes[index]
        labels = np.zeros((height, width), np.uint8)
        for annotated in self._masks[index]:
            try:
                labels[draw(annotated.mask, (height, width))] = annotated.label
            except ValueError as error:
                raise JaxpartError(
                    f"{self._file}: the segmentation of the annotation with id {annotated.annotation} "
                    f"{error}; fix or remove it"
                ) from None
        return labels

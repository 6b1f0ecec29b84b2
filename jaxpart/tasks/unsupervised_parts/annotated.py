"""Images of a data set as squares, with their keypoints, boxes and foreground."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int
from PIL import Image

from jaxpart.data.folders import read_file
from jaxpart.data.images import decode_channels
from jaxpart.data.masks import read_mask
from jaxpart.data.pairs import image_size
from jaxpart.data.patch_images import in_order
from jaxpart.data.sets import open_set
from jaxpart.data.sets.cub import Cub
from jaxpart.data.source import Record, Source
from jaxpart.data.squares import Layout, resized
from jaxpart.data.subset import Subset
from jaxpart.encoders.positions import Grid
from jaxpart.errors import JaxpartError
from jaxpart.labels import IGNORE

MaskOf = Callable[[Record], Bool[np.ndarray, "height width"]]
"""Reads the foreground of an image."""

_KINDS = ("object", "part")
LAYOUT: Layout = "centred"
_FOREGROUND_GREY = 255
"""Foreground in CUB-200-2011's segmentations; lower values mark pixels on which annotators disagree."""


@dataclasses.dataclass(frozen=True)
class Annotated:
    """Images as squares of `side` pixels, with all coordinates in these pixels.

    Attributes:
      source: The images.
      side: Side of the squares, pixels.
      pictures: (left, top, width, height) of each image in its square.
      boxes: (left, top, width, height) of each image's object.
      image: The image of each visible keypoint, of all objects.
      part: The part of each visible keypoint, from 0 in the order of the part ids.
      xy: Position of each visible keypoint.
      points: The keypoints of images with keypoints of one object; 0 for other images.
      visible: Which of `points` count.
      masks: Cells of each grid (rows, columns) that are at least half foreground, in row-major order. None
        if the data set has no masks.
    """

    source: Source
    side: int
    pictures: Int[np.ndarray, "image 4"]
    boxes: Float64[np.ndarray, "image 4"]
    image: Int[np.ndarray, " keypoint"]
    part: Int[np.ndarray, " keypoint"]
    xy: Float64[np.ndarray, "keypoint 2"]
    points: Float64[np.ndarray, "image part 2"]
    visible: Bool[np.ndarray, "image part"]
    masks: Mapping[Grid, Bool[np.ndarray, "image cell"]] | None

    def inside(self, grid: Grid) -> Bool[np.ndarray, "image cell"]:
        """The cells whose centre lies in the image, not in the black padding."""
        rows, columns = ((np.arange(cells) + 0.5) * (self.side / cells) for cells in grid)
        left, top, width, height = (v[:, None] for v in self.pictures.T)
        across = (columns >= left) & (columns < left + width)
        down = (rows >= top) & (rows < top + height)
        return (down[:, :, None] & across[:, None, :]).reshape(len(down), -1)

    def in_boxes(
        self, xy: Float64[np.ndarray, "image part 2"]
    ) -> Float64[np.ndarray, "image part 2"]:
        """Points of each image relative to the corner, width and height of its object's box."""
        return (xy - self.boxes[:, None, :2]) / self.boxes[:, None, 2:]


class Opened(NamedTuple):
    """A split of a data set before its annotations are read.

    Attributes:
      source: The images.
      boxes: (left, top, width, height) of each image's object, pixels; None: the whole image.
      mask_of: Reads the foreground of an image; None if there are no masks.
    """

    source: Source
    boxes: Float64[np.ndarray, "image 4"] | None
    mask_of: MaskOf | None

    @property
    def name(self) -> str:
        """Data set and split."""
        return f"{self.source.info.name} ({self.source.info.split})"

    def subset(self, numbers: Int[np.ndarray, " image"]) -> Opened:
        """A subset of the images."""
        boxes = None if self.boxes is None else self.boxes[numbers]
        return self._replace(source=Subset(self.source, numbers.tolist()), boxes=boxes)


def open_annotated(name: str, split: str, data: Any) -> Opened:
    """Opens a split of a data set.

    Only CUB-200-2011's official folder has boxes, and masks if segmentations.tgz is unpacked there; masks
    of other data sets are those of objects, else of all parts.
    """
    source = open_set(name, split, data)
    if isinstance(source, Cub):
        folder = source.segmentations
        return Opened(source, source.boxes(), _segmentation(folder) if folder else None)
    kind = next((kind for kind in _KINDS if kind in source.info.mask_names), None)
    return Opened(
        source, None, _labelled(kind, len(source.info.mask_names[kind])) if kind else None
    )


def _labelled(kind: str, labels: int) -> MaskOf:
    return lambda record: ~np.isin(read_mask(record, kind, labels), (0, IGNORE))


def _segmentation(folder: pathlib.Path) -> MaskOf:
    def foreground(record: Record) -> Bool[np.ndarray, "height width"]:
        name = pathlib.PurePosixPath(record.annotation.id).relative_to("images")
        path = folder / name.with_suffix(".png")
        grey = decode_channels(read_file(path), str(path))
        return (grey if grey.ndim == 2 else grey[..., 0]) == _FOREGROUND_GREY

    return foreground


def annotated(
    opened: Opened, side: int, grids: Sequence[Grid], advance: Callable[[int], None]
) -> Annotated:
    """Reads the annotations of images.

    Raises:
      JaxpartError: No keypoint is visible, an image or a mask cannot be read, or a mask has another size
        than its image.
    """
    source, boxes, mask_of = opened
    column = {part: number for number, part in enumerate(sorted(source.info.part_names))}
    shape = len(source), len(column)
    points, visible = np.zeros((*shape, 2)), np.zeros(shape, bool)
    pictures = np.zeros((len(source), 4), np.int64)
    object_boxes = np.zeros((len(source), 4))
    masks = {grid: np.zeros((len(source), grid[0] * grid[1]), bool) for grid in grids}
    images, parts, xys = [], [], []

    def read(index: int) -> tuple[tuple[int, int], np.ndarray | None]:
        size = image_size(source, index)
        if mask_of is None:
            return size, None
        return size, _squared(mask_of(source[index]), source.annotation(index).id, size, side)

    for index, (size, mask) in enumerate(in_order(read, range(len(source)))):
        width, height, left, top = resized(size, side, LAYOUT)
        scale, corner = side / max(size), np.array([left, top])
        pictures[index] = left, top, width, height
        object_boxes[index] = pictures[index]
        if boxes is not None:
            object_boxes[index] = boxes[index] * scale
            object_boxes[index, :2] += corner
        if mask is not None:
            for grid, is_foreground in masks.items():
                cells = cv2.resize(mask, grid[::-1], interpolation=cv2.INTER_AREA)
                is_foreground[index] = cells.ravel() >= 0.5
        keypoints = source.annotation(index).keypoints
        if keypoints is not None and keypoints.visible.any():
            shown = keypoints.visible
            xy = keypoints.xy[shown] * scale + corner
            columns = np.array([column[part] for part in keypoints.part[shown].tolist()])
            images.append(np.full(len(columns), index))
            parts.append(columns)
            xys.append(xy)
            if len(np.unique(keypoints.instance[shown])) == 1:
                points[index, columns], visible[index, columns] = xy, True
        advance(1)
    if not images:
        raise JaxpartError(
            f"no keypoint of {opened.name} is visible in {len(source)} images; there is nothing to evaluate"
        )
    return Annotated(
        source=source,
        side=side,
        pictures=pictures,
        boxes=object_boxes,
        image=np.concatenate(images),
        part=np.concatenate(parts),
        xy=np.concatenate(xys),
        points=points,
        visible=visible,
        masks=None if mask_of is None else masks,
    )


def _squared(
    mask: Bool[np.ndarray, "height width"], name: str, size: tuple[int, int], side: int
) -> np.ndarray:
    """The share of foreground in each pixel of the square, float32."""
    if mask.shape != size[::-1]:
        raise JaxpartError(
            f"the mask of {name} is {mask.shape[1]} × {mask.shape[0]} pixels, and the image "
            f"{size[0]} × {size[1]}; give a mask of the image's size"
        )
    width, height, left, top = resized(size, side, LAYOUT)
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    square = np.zeros((side, side), np.float32)
    shares = np.asarray(picture.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    square[top : top + height, left : left + width] = shares
    return square

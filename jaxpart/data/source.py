"""The interface of all data sets: records by index, in a fixed order.

A `Source` may read official folders or prepared shards, or draw its images. It is stateless and allows
random access, so any loader can shard, shuffle and resume it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Metadata of a data set split.

    Attributes:
      name: The data set, "cub_parts".
      split: The data set's own name of the split, "train2017"; "all" if it has no splits.
      version: Changes whenever an index could mean a different record.
      part_names: Keypoint name by the official part id, which need not be contiguous.
      class_names: Name of each image-level class, by label; empty if there are none.
      mask_names: Name of each pixel class by mask kind and label; label 0 is the background.
      notes: What was left out, matched or assumed on opening, and so affects how to read its numbers;
        without paths, so that they depend on the data only.
    """

    name: str
    split: str
    version: str
    part_names: Mapping[int, str] = dataclasses.field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    mask_names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes, each with the data set and split."""
        return tuple(f"{self.name} ({self.split}): {note}" for note in self.notes)


@dataclasses.dataclass(frozen=True)
class Keypoints:
    """The annotated points of all instances in one image, in the order of the annotation.

    Attributes:
      part: Official part id of each point.
      xy: Position in pixels of the original image, x to the right and y down.
      visible: Whether the point is visible.
      instance: Id of the object that the point belongs to (COCO: the annotation id).
    """

    part: Int64[np.ndarray, " points"]
    xy: Float64[np.ndarray, "points 2"]
    visible: Bool[np.ndarray, " points"]
    instance: Int64[np.ndarray, " points"]


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The annotation of an image, available without opening the image.

    Attributes:
      id: Unique in the data set; for folders the image's path below the root.
      keypoints: The image's keypoints, or None if the data set has none.
      label: The image-level class, an index into `DatasetInfo.class_names`, or None.
      size: (width, height) in pixels of the annotated image, or None if not stated.
    """

    id: str
    keypoints: Keypoints | None = None
    label: int | None = None
    size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Record:
    """One image with its annotation and masks.

    Attributes:
      annotation: See `Annotation`.
      image: The encoded file (JPEG, PNG), bytes as published.
      masks: Label maps of the image's size by kind ("part", "object"): encoded PNG files, or the labels
        themselves where they are drawn.
    """

    annotation: Annotation
    image: bytes
    masks: Mapping[str, bytes | UInt8[np.ndarray, "height width"]] = dataclasses.field(
        default_factory=dict
    )


class Source(Protocol):
    """A data set split: random access, deterministic, safe to read from many threads."""

    info: DatasetInfo

    def __len__(self) -> int:
        """Number of images."""
        ...

    def annotation(self, index: int) -> Annotation:
        """The annotation of an image, without reading the image: cheap enough for a full pass."""
        ...

    def origin(self, index: int) -> Sequence[str] | str:
        """Paths of all files that an image is read from, without opening them.

        If it has no files of its own, a string that together with `info.version` changes with its content.
        """
        ...

    def __getitem__(self, index: int) -> Record:
        """Reads an image. Raises `JaxpartError` naming the file if it cannot be read."""
        ...

"""What every data set looks like to the tasks: records by index, in one fixed order.

A `Source` may read the official folders of a data set, prepared shards, or draw its images. It
is random access and stateless, so any loader can shard, shuffle and resume it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Names that belong to a data set as a whole.

    Attributes:
      name: The data set, "cub_parts".
      split: The split as the data set calls it, "train2017"; "all" where it has none.
      version: Changes whenever the same index could mean another record.
      part_names: Keypoint name by the official part id, which need not be contiguous.
      class_names: Name of each image-level class, by label; empty where there are none.
      mask_names: Name of each pixel class by mask kind and label; label 0 is the background.
      notes: What was left out, matched or taken for granted when it was opened, without which its numbers
        may be misunderstood; no paths, so that the same data have the same.
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
        """The notes as sentences that say of what they are."""
        return tuple(f"{self.name} ({self.split}): {note}" for note in self.notes)


@dataclasses.dataclass(frozen=True)
class Keypoints:
    """The annotated points of one image, of all its instances, in the order of the annotation.

    Attributes:
      part: Official part id of each point.
      xy: Position in pixels of the original image, x to the right and y down.
      visible: Whether the point can be seen.
      instance: Id of the object that the point belongs to (COCO: the annotation id).
    """

    part: Int64[np.ndarray, " points"]
    xy: Float64[np.ndarray, "points 2"]
    visible: Bool[np.ndarray, " points"]
    instance: Int64[np.ndarray, " points"]


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What is known of an image without opening it.

    Attributes:
      id: Unique in the data set; for folders the image's path below the root.
      keypoints: The image's keypoints, or None where the data set has none.
      label: The image-level class, an index into `DatasetInfo.class_names`, or None.
      size: (width, height) in pixels of the image that was annotated, or None where nothing states it.
    """

    id: str
    keypoints: Keypoints | None = None
    label: int | None = None
    size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Record:
    """One image with everything known of it.

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
        """What is known of image `index`, without reading it: cheap enough for a full pass."""
        ...

    def origin(self, index: int) -> Sequence[str] | str:
        """Paths of all files that image `index` is read from, opening none.

        Where it has no files of its own: a text that is another wherever its content is another, unless
        `info.version` is.
        """
        ...

    def __getitem__(self, index: int) -> Record:
        """Image `index`, read now. Raises `JaxpartError` naming the file if it cannot be read."""
        ...

"""Part patches: a square around each selected keypoint, sized by the distance to the nearest other one.

As in the published loaders (docs/protocol.md, "Part patches"), for any set of keypoints.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float64

from jaxpart.data.images import Box
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints, Source
from jaxpart.errors import JaxpartError

_DISTANCES = 1 << 20
"""Pairs of keypoints whose distances are in memory at once."""


@dataclasses.dataclass(frozen=True)
class PartSelection:
    """Which keypoints become patches.

    Attributes:
      parts: Name of each selected part by its official id; at least one.
      min_parts_per_instance: Number of visible selected parts that an instance needs to count.
      min_dist: Exclusive lower limit of half the distance to the nearest selected keypoint, in pixels;
        at least 1, so that no patch is empty.
      max_dist: Exclusive upper limit.
      beyond: Whether keypoints outside the image give patches. They do in the official data sets, since
        the published loaders do not check.

    Raises:
      JaxpartError: No part is selected, or the limits are out of range.
    """

    parts: Mapping[int, str]
    min_parts_per_instance: int = 1
    min_dist: float = 20.0
    max_dist: float = 1000.0
    beyond: bool = False

    def __post_init__(self) -> None:
        """Checks the fields."""
        if not self.parts:
            raise JaxpartError("a part selection needs at least one part id")
        if not 1 <= self.min_dist < self.max_dist:
            raise JaxpartError(
                f"the distance limits are {self.min_dist} and {self.max_dist} pixels; they "
                "must be at least 1 and increasing"
            )

    def check(self, info: DatasetInfo) -> None:
        """Raises `JaxpartError` if the data set lacks a selected part or calls it differently."""
        for part, name in self.parts.items():
            if part not in info.part_names:
                raise JaxpartError(
                    f"{info.name} has no part with id {part}; its parts are {dict(info.part_names)}"
                )
            if info.part_names[part] != name:
                raise JaxpartError(
                    f"{info.name} calls the part with id {part} {info.part_names[part]!r} instead of "
                    f"{name!r}; its parts are {dict(info.part_names)}"
                )


CUB_PARTS = PartSelection(
    {11: "right_eye", 12: "right_leg", 9: "left_wing", 14: "tail"}, beyond=True
)
COCO_PARTS = PartSelection(
    {1: "nose", 11: "right_wrist", 16: "left_ankle"}, min_parts_per_instance=2, beyond=True
)


@dataclasses.dataclass(frozen=True)
class Patch:
    """A square around a keypoint.

    Attributes:
      index: Index of the image in its source.
      image: Id of the image.
      part: Official part id.
      instance: Id of the object (COCO: the annotation id).
      x: Keypoint column in pixels.
      y: Keypoint row in pixels.
      dist: Half the distance to the nearest other selected keypoint, in pixels.
    """

    index: int
    image: str
    part: int
    instance: int
    x: float
    y: float
    dist: float

    @property
    def half(self) -> int:
        """Half the side in pixels: `dist` / 2, rounded half to even."""
        return round(self.dist / 2)

    @property
    def box(self) -> Box:
        """(left, top, right, bottom) of the crop in pixels; may extend beyond the image."""
        half = self.half
        return self.x - half, self.y - half, self.x + half, self.y + half


def part_patches(source: Source, selection: PartSelection) -> list[Patch]:
    """All part patches of a data set, in the order of its images and their annotations.

    Args:
      source: A data set with keypoints. `CocoPersons` must have been opened with the same selection,
        since the published order of its images depends on it.
      selection: The keypoints.

    Raises:
      JaxpartError: A selected part does not exist in the data set, or an image has no keypoints.
    """
    selection.check(source.info)
    patches: list[Patch] = []
    for index in range(len(source)):
        patches += image_patches(index, source.annotation(index), selection)
    return patches


def unseen_parts(patches: Sequence[Patch], selection: PartSelection) -> list[str]:
    """Names of the selected parts that have no patch, in the order of the selection."""
    seen = {patch.part for patch in patches}
    return [name for part, name in selection.parts.items() if part not in seen]


def no_patches(source: Source, selection: PartSelection) -> str:
    """The error message for a data set without part patches."""
    where, names = f"{source.info.name} ({source.info.split})", ", ".join(selection.parts.values())
    for index in range(len(source)):
        annotation = source.annotation(index)
        if annotation.keypoints is not None and len(
            _selected(annotation, annotation.keypoints, selection)[0]
        ):
            return (
                f"{where} has no part patches: no keypoint of {names} has another one of its "
                f"instance {2 * selection.min_dist:g} to {2 * selection.max_dist:g} pixels away"
            )
    reason = "; ".join(source.info.notes) or "label the points that are seen as visible (v = 2)"
    return f"{where} has no part patches: no keypoint of {names} is visible ({reason})"


def image_patches(index: int, annotation: Annotation, selection: PartSelection) -> list[Patch]:
    """The part patches of one image, in the order of its annotation.

    Args:
      index: Index of the image in its source, for `Patch.index`.
      annotation: The image's annotation.
      selection: The keypoints.

    Raises:
      JaxpartError: The annotation's keypoints are `None`.
    """
    if annotation.keypoints is None:
        raise JaxpartError(f"image {annotation.id} has no keypoints; choose a data set of parts")
    part, instance, x, y = _selected(annotation, annotation.keypoints, selection)
    if len(part) < 2:  # a single keypoint has no distance, so no patch
        return []
    half_distances = _half_distances(x, y, instance)
    kept = (half_distances > selection.min_dist) & (half_distances < selection.max_dist)
    columns = (part, instance, x, y, half_distances)
    return [
        Patch(index, annotation.id, part_id, instance_id, column, row, dist)
        for part_id, instance_id, column, row, dist in zip(
            *(values[kept].tolist() for values in columns), strict=True
        )
    ]


def outside(
    xy: Float64[np.ndarray, "points 2"], size: tuple[int, int]
) -> Bool[np.ndarray, " points"]:
    """Which points lie outside an image of (width, height) pixels; points on its edge are inside."""
    return np.any((xy < 0) | (xy > size), axis=1)


def _selected(
    annotation: Annotation, keypoints: Keypoints, selection: PartSelection
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(part, instance, x, y) of the visible selected keypoints, of instances with enough of them."""
    usable = keypoints.visible
    if annotation.size is not None and not selection.beyond:
        usable = usable & ~outside(keypoints.xy, annotation.size)
    rows = np.flatnonzero(usable)
    selected = [part in selection.parts for part in keypoints.part[rows].tolist()]
    rows = rows[np.array(selected, bool)]
    instance = keypoints.instance[rows]
    counts = collections.Counter(ids := instance.tolist())
    enough = np.array([counts[i] >= selection.min_parts_per_instance for i in ids], bool)
    rows = rows[enough]
    return keypoints.part[rows], instance[enough], *keypoints.xy[rows].T


def _half_distances(
    x: Float64[np.ndarray, " points"], y: np.ndarray, instance: np.ndarray
) -> Float64[np.ndarray, " points"]:
    """Half the smallest non-zero distance from each point to another; infinite if there is none.

    The distance is over (x, y, instance id), as in the published COCO loader, so keypoints of two persons
    are almost never nearest neighbours. For a single instance (CUB) it is the plain distance.
    """
    nearest = np.empty(len(x))
    block = max(1, _DISTANCES // len(x))
    for start in range(0, len(x), block):
        rows = slice(start, start + block)
        squares = np.zeros((len(x[rows]), len(x)))
        for axis in (x, y, instance.astype(np.float64)):
            squares += (axis[rows, None] - axis[None, :]) ** 2
        distances = np.sqrt(squares)
        distances[distances == 0] = np.inf
        nearest[rows] = distances.min(axis=1)
    return nearest / 2

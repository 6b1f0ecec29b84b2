"""Part patches: a square around each selected keypoint, sized by the distance to its neighbour.

The rule of the published loaders (PROTOCOL.md, "Part patches"), for any set of keypoints.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from jaxpart.data.images import Box
from jaxpart.data.source import Annotation, Keypoints, Source
from jaxpart.errors import JaxpartError


@dataclasses.dataclass(frozen=True)
class PartSelection:
    """Which keypoints become patches.

    Attributes:
      parts: Name of each selected part by its official id.
      min_parts: An instance contributes only if it has at least so many visible selected parts.
      min_dist: Patches need more than this half distance (pixels) to the next selected keypoint…
      max_dist: …and less than this.
    """

    parts: Mapping[int, str]
    min_parts: int = 1
    min_dist: float = 20.0
    max_dist: float = 1000.0


CUB_PARTS = PartSelection({11: "right_eye", 12: "right_leg", 9: "left_wing", 14: "tail"})
COCO_PARTS = PartSelection({1: "nose", 11: "right_wrist", 16: "left_ankle"}, min_parts=2)


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
      half: Half the side in pixels: `dist` / 2, rounded half to even.
    """

    index: int
    image: str
    part: int
    instance: int
    x: float
    y: float
    dist: float
    half: int

    @property
    def box(self) -> Box:
        """(left, top, right, bottom) of the crop in pixels; may reach beyond the image."""
        return (self.x - self.half, self.y - self.half, self.x + self.half, self.y + self.half)


def part_patches(source: Source, selection: PartSelection) -> list[Patch]:
    """All part patches of a data set, in the order of its images and their annotations.

    Raises:
      JaxpartError: A selected part does not exist in the data set, or an image has no keypoints.
    """
    unknown = [part for part in selection.parts if part not in source.info.part_names]
    if unknown:
        raise JaxpartError(
            f"{source.info.name} has no part with id {unknown[0]}; its parts are "
            f"{dict(source.info.part_names)}"
        )
    return [
        patch
        for index in range(len(source))
        for patch in image_patches(index, source.annotation(index), selection)
    ]


def image_patches(
    index: int, annotation: Annotation, selection: PartSelection
) -> Iterator[Patch]:
    """The part patches of one image."""
    if annotation.keypoints is None:
        raise JaxpartError(f"image {annotation.id} has no keypoints; choose a data set of parts")
    points = _selected(annotation.keypoints, selection)
    for i, dist in enumerate(_half_distances(points)):
        if selection.min_dist < dist < selection.max_dist:
            x, y = points.xy[i]
            yield Patch(
                index=index,
                image=annotation.id,
                part=int(points.part[i]),
                instance=int(points.instance[i]),
                x=float(x),
                y=float(y),
                dist=float(dist),
                half=round(float(dist) / 2),
            )


def _selected(keypoints: Keypoints, selection: PartSelection) -> Keypoints:
    """The visible selected keypoints of the instances that have enough of them."""
    kept = keypoints.visible & np.isin(keypoints.part, list(selection.parts))
    _, which = np.unique(keypoints.instance, return_inverse=True)
    counts = np.bincount(which, weights=kept)
    kept &= counts[which] >= selection.min_parts
    return Keypoints(*(getattr(keypoints, f.name)[kept] for f in dataclasses.fields(Keypoints)))


def _half_distances(points: Keypoints) -> np.ndarray:
    """Half the smallest non-zero distance of each point to another; infinite if there is none.

    Measured over (x, y, instance id), as the published COCO loader does: keypoints of two persons
    are almost never each other's nearest.
    """
    place = np.column_stack([points.xy, points.instance.astype(np.float64)])
    squares = (place[:, None, :] - place[None, :, :]) ** 2
    distances = np.sqrt(squares[..., 0] + squares[..., 1] + squares[..., 2])
    return np.where(distances > 0, distances, np.inf).min(axis=1, initial=np.inf) / 2

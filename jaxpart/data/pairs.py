"""Pairs of images whose keypoints correspond."""

from __future__ import annotations

import dataclasses
import io
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from jaxpart.data.folders import read_file
from jaxpart.data.images import read_header
from jaxpart.data.source import Annotation, DatasetInfo, Record, Source
from jaxpart.data.subset import Subset
from jaxpart.errors import JaxpartError

Groups = Mapping[str, tuple[tuple[int, ...], ...]]
"""Part ids that are interchangeable, such as left and right, by class."""


@dataclasses.dataclass(frozen=True)
class PairSet:
    """Images, pairs of them, and the points of each pair.

    Attributes:
      source: The images.
      sizes: (width, height) of each in pixels.
      pairs: Numbers of the source and the target image.
      source_xy: x and y of the points in the source image, pixels; any where not visible.
      target_xy: In the target image; column by column the same points.
      source_visible: Whether each can be seen.
      target_visible: The same of the target image.
      side: The reference length of each pair, in pixels of its target image.
      reference: What that is: the longer side of the object's "box" or of the "image".
      classes: The class of each pair.
      groups: Number of the group of interchangeable parts that each point is of; -1: alone.
      rule: Which pairs these are, in words.
    """

    source: Source
    sizes: Int64[np.ndarray, "image 2"]
    pairs: Int64[np.ndarray, "pair 2"]
    source_xy: Float64[np.ndarray, "pair point 2"]
    target_xy: Float64[np.ndarray, "pair point 2"]
    source_visible: Bool[np.ndarray, "pair point"]
    target_visible: Bool[np.ndarray, "pair point"]
    side: Float64[np.ndarray, " pair"]
    reference: str
    classes: tuple[str, ...]
    groups: Int64[np.ndarray, "pair point"]
    rule: str

    @property
    def counted(self) -> Bool[np.ndarray, "pair point"]:
        """The points that count: visible in both images."""
        return self.source_visible & self.target_visible


class ListedImages:
    """Images of a folder as a `Source`, with annotations that were read before."""

    info: DatasetInfo

    def __init__(
        self, root: pathlib.Path, annotations: Sequence[Annotation], info: DatasetInfo
    ) -> None:
        """Takes them as they are; ids are paths below `root`."""
        self._root, self._annotations, self.info = root, tuple(annotations), info

    def __len__(self) -> int:
        """Number of images."""
        return len(self._annotations)

    def annotation(self, index: int) -> Annotation:
        """What was read of an image."""
        return self._annotations[index]

    def origin(self, index: int) -> tuple[str, ...]:
        """The image's file."""
        return (f"{self._root}/{self._annotations[index].id}",)

    def __getitem__(self, index: int) -> Record:
        """An image with its annotation."""
        annotation = self.annotation(index)
        return Record(annotation, read_file(self._root / annotation.id))


def class_pairs(
    labels: Sequence[str], most: int, seed: int
) -> tuple[Int64[np.ndarray, "pair 2"], tuple[str, ...], str]:
    """Ordered pairs of different images of one class, and the class of each.

    Args:
      labels: The class of each image.
      most: Of each class, drawn without replacement; 0: all.
      seed: Of the drawing.

    Returns:
      The pairs in the order of classes by name, then of images; their classes; and the rule in words.
    """
    found: list[np.ndarray] = []
    classes: list[str] = []
    of_class = np.asarray(labels)
    for number, name in enumerate(sorted(set(labels))):
        members = np.flatnonzero(of_class == name)
        chosen = _drawn(len(members) * (len(members) - 1), most, (seed, number))
        source, other = np.divmod(chosen, max(1, len(members) - 1))
        target = other + (other >= source)
        found.append(np.stack([members[source], members[target]], axis=1))
        classes += [name] * len(chosen)
    drawn_by = f"at most {most} of each class, drawn by seed {seed}" if most else "all"
    pairs = np.concatenate(found) if found else np.zeros((0, 2), np.int64)
    return pairs, tuple(classes), f"ordered pairs of images of one class, {drawn_by}"


def species_pairs(
    species: Sequence[str], families: Sequence[str], most: int, seed: int
) -> tuple[Int64[np.ndarray, "pair 2"], tuple[str, ...], str]:
    """Ordered pairs of images of two species of one family, and that family.

    Args:
      species: The species of each image.
      families: The family of each image.
      most: Of each family, drawn without replacement; 0: all.
      seed: Of the drawing.

    Returns:
      As `class_pairs`, in the order of families and species by name.
    """
    members = _members(list(zip(families, species, strict=True)))
    units = []
    for family in sorted(set(families)):
        kinds = [images for (name, _), images in members.items() if name == family]
        units.append((family, list(itertools.permutations(kinds, 2))))
    pairs, classes = _between(units, most, seed)
    drawn_by = f"at most {most} of each family, drawn by seed {seed}" if most else "all"
    return pairs, classes, f"ordered pairs of images of two species of one family, {drawn_by}"


def family_pairs(
    families: Sequence[str], most: int, seed: int
) -> tuple[Int64[np.ndarray, "pair 2"], tuple[str, ...], str]:
    """Ordered pairs of images of two families, and the family of the source image.

    Args:
      families: The family of each image.
      most: Of each ordered pair of families, drawn without replacement; 0: all.
      seed: Of the drawing.

    Returns:
      As `class_pairs`, in the order of families by name.
    """
    units = [
        (source[0], [(source[1], target[1])])
        for source, target in itertools.permutations(_members(families).items(), 2)
    ]
    pairs, classes = _between(units, most, seed)
    drawn_by = f"at most {most} of each two families, drawn by seed {seed}" if most else "all"
    return pairs, classes, f"ordered pairs of images of two families, {drawn_by}"


def _members(labels: Sequence[Any]) -> dict[Any, Int64[np.ndarray, " image"]]:
    """The images of each label, by label in order."""
    found: dict[Any, list[int]] = {label: [] for label in sorted(set(labels))}
    for image, label in enumerate(labels):
        found[label].append(image)
    return {label: np.array(images) for label, images in found.items()}


def _between(
    units: Sequence[tuple[str, Sequence[tuple[np.ndarray, np.ndarray]]]], most: int, seed: int
) -> tuple[Int64[np.ndarray, "pair 2"], tuple[str, ...]]:
    """Pairs of a source and a target image, at most `most` of each unit, and the names of their units.

    Args:
      units: Name of each, and its groups of source images with the target images of each group.
      most: 0: all.
      seed: Of the drawing.
    """
    found, classes = [np.zeros((0, 2), np.int64)], list[str]()
    for number, (name, groups) in enumerate(units):
        ends = np.cumsum([len(sources) * len(targets) for sources, targets in groups], dtype=int)
        chosen = _drawn(int(ends[-1]) if len(ends) else 0, most, (seed, number))
        of = np.searchsorted(ends, chosen, side="right")
        for group in np.unique(of).tolist():
            sources, targets = groups[group]
            place = chosen[of == group] - (ends[group] - len(sources) * len(targets))
            source, target = np.divmod(place, len(targets))
            found.append(np.stack([sources[source], targets[target]], axis=1))
        classes += [name] * len(chosen)
    return np.concatenate(found), tuple(classes)


def _drawn(count: int, most: int, seed: tuple[int, int]) -> Int64[np.ndarray, " chosen"]:
    """Numbers below `count` in rising order: all, or `most` of them drawn without replacement."""
    if not most or count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def paired(
    source: Source,
    pairs: Int64[np.ndarray, "pair 2"],
    classes: Sequence[str],
    rule: str,
    *,
    boxes: Float64[np.ndarray, "image 2"] | None = None,
    groups: Groups | None = None,
) -> PairSet:
    """The pairs of images whose annotations have the keypoints of one object each.

    Args:
      source: The images.
      pairs: Numbers of source and target images.
      classes: The class of each pair.
      rule: Which pairs these are, in words.
      boxes: Width and height of the object's box in each image, pixels; None: the image is the reference.
      groups: Interchangeable parts of each class.

    Raises:
      JaxpartError: There are no pairs, or an image cannot be read or has a damaged header.
    """
    if not len(pairs):
        raise JaxpartError(
            f"{source.info.name} ({source.info.split}) has no pair to score ({rule}); use more images"
        )
    used, numbered = np.unique(pairs, return_inverse=True)
    pairs = numbered.reshape(-1, 2)
    few = Subset(source, used.tolist())
    ids = sorted(source.info.part_names)
    column = {part: number for number, part in enumerate(ids)}
    xy = np.zeros((len(used), len(ids), 2))
    visible = np.zeros((len(used), len(ids)), bool)
    for image in range(len(used)):
        points = few.annotation(image).keypoints
        if points is None:
            continue
        at = [column[part] for part in points.part.tolist()]
        xy[image, at], visible[image, at] = points.xy, points.visible
    sizes = np.array([image_size(few, image) for image in range(len(used))], np.int64)
    if boxes is None:
        side = sizes.max(axis=1).astype(np.float64)
    else:
        side = np.asarray(boxes, np.float64)[used].max(axis=1)
    group_of = {
        name: [
            next((n for n, g in enumerate((groups or {}).get(name, ())) if part in g), -1)
            for part in ids
        ]
        for name in set(classes)
    }
    first, second = pairs.T
    return PairSet(
        source=few,
        sizes=sizes,
        pairs=pairs,
        source_xy=xy[first],
        target_xy=xy[second],
        source_visible=visible[first],
        target_visible=visible[second],
        side=side[second],
        reference="image" if boxes is None else "box",
        classes=tuple(classes),
        groups=np.array([group_of[name] for name in classes], np.int64),
        rule=rule,
    )


def image_size(source: Source, index: int) -> tuple[int, int]:
    """(width, height) of an image: as annotated, or of its header."""
    annotation = source.annotation(index)
    if annotation.size is not None:
        return annotation.size
    header = read_header(io.BytesIO(source[index].image), annotation.id)
    return header.width, header.height

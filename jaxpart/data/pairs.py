"""Pairs of images whose keypoints correspond."""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from jaxpart.data.images import read_header
from jaxpart.data.source import Source
from jaxpart.data.subset import Subset
from jaxpart.errors import JaxpartError

Groups = Mapping[str, tuple[tuple[int, ...], ...]]
"""Part ids that are interchangeable, such as left and right, by class."""


@dataclasses.dataclass(frozen=True)
class PairSet:
    """Images, pairs of images, and the points of each pair.

    Attributes:
      source: The images.
      sizes: (width, height) of each image in pixels.
      pairs: Indices of the source and the target image.
      source_xy: x and y of the points in the source image, pixels; arbitrary where not visible.
      target_xy: x and y of the same points in the target image.
      source_visible: Whether each point is visible in the source image.
      target_visible: Whether each point is visible in the target image.
      side: The reference length of each pair, in pixels of its target image.
      reference: Definition of that length: the longer side of the object's "box" or of the "image".
      classes: The class of each pair.
      groups: Index of each point's group of interchangeable parts; -1: none.
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

    @property
    def counted(self) -> Bool[np.ndarray, "pair point"]:
        """The points that count: visible in both images."""
        return self.source_visible & self.target_visible


def class_pairs(
    labels: Sequence[str], most: int, seed: int
) -> tuple[Int64[np.ndarray, "pair 2"], tuple[str, ...]]:
    """Ordered pairs of different images of one class.

    Args:
      labels: The class of each image.
      most: Limit for each class, sampled without replacement; 0: all.
      seed: Seed of the sampling.

    Returns:
      The pairs, sorted by class name and image, and the class of each.
    """
    sampled, classes = [np.zeros((0, 2), np.int64)], list[str]()
    for number, (name, members) in enumerate(_members(labels).items()):
        chosen = _sample(len(members) * (len(members) - 1), most, (seed, number))
        source, other = np.divmod(chosen, max(1, len(members) - 1))
        target = other + (other >= source)
        sampled.append(np.stack([members[source], members[target]], axis=1))
        classes += [name] * len(chosen)
    return np.concatenate(sampled), tuple(classes)


def species_pairs(
    species: Sequence[str], families: Sequence[str], most: int, seed: int
) -> tuple[Int64[np.ndarray, "pair 2"], tuple[str, ...]]:
    """Ordered pairs of images of two species of one family, which is the class of the pair.

    Args:
      species: The species of each image.
      families: The family of each image.
      most: Limit for each family, sampled without replacement; 0: all.
      seed: Seed of the sampling.

    Returns:
      As `class_pairs`, sorted by family and species.
    """
    members = _members(list(zip(families, species, strict=True)))
    units = []
    for family in sorted(set(families)):
        kinds = [images for (name, _), images in members.items() if name == family]
        units.append((family, list(itertools.permutations(kinds, 2))))
    return _between(units, most, seed)


def family_pairs(
    families: Sequence[str], most: int, seed: int
) -> tuple[Int64[np.ndarray, "pair 2"], tuple[str, ...]]:
    """Ordered pairs of images of two families; the source's family is the class of the pair.

    Args:
      families: The family of each image.
      most: Limit for each ordered pair of families, sampled without replacement; 0: all.
      seed: Seed of the sampling.

    Returns:
      As `class_pairs`, sorted by family.
    """
    units = [
        (source[0], [(source[1], target[1])])
        for source, target in itertools.permutations(_members(families).items(), 2)
    ]
    return _between(units, most, seed)


def _members(labels: Sequence[Any]) -> dict[Any, Int64[np.ndarray, " image"]]:
    """The indices of the images of each label; sorted by label."""
    members: dict[Any, list[int]] = {label: [] for label in sorted(set(labels))}
    for image, label in enumerate(labels):
        members[label].append(image)
    return {label: np.array(images) for label, images in members.items()}


def _between(
    units: Sequence[tuple[str, Sequence[tuple[np.ndarray, np.ndarray]]]], most: int, seed: int
) -> tuple[Int64[np.ndarray, "pair 2"], tuple[str, ...]]:
    """Pairs of a source and a target image, and the name of each pair's unit.

    Args:
      units: Name of each unit, and its groups of (source images, target images).
      most: Limit for each unit; 0: all.
      seed: Seed of the sampling.
    """
    pairs, classes = [np.zeros((0, 2), np.int64)], list[str]()
    for number, (name, groups) in enumerate(units):
        ends = np.cumsum([len(sources) * len(targets) for sources, targets in groups], dtype=int)
        chosen = _sample(int(ends[-1]) if len(ends) else 0, most, (seed, number))
        group_of = np.searchsorted(ends, chosen, side="right")
        for group in np.unique(group_of).tolist():
            sources, targets = groups[group]
            index = chosen[group_of == group] - (ends[group] - len(sources) * len(targets))
            source, target = np.divmod(index, len(targets))
            pairs.append(np.stack([sources[source], targets[target]], axis=1))
        classes += [name] * len(chosen)
    return np.concatenate(pairs), tuple(classes)


def _sample(count: int, most: int, seed: tuple[int, int]) -> Int64[np.ndarray, " chosen"]:
    """Sorted numbers below `count`: all, or `most` of them sampled without replacement."""
    if not most or count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def paired(
    source: Source,
    pairs: Int64[np.ndarray, "pair 2"],
    classes: Sequence[str],
    *,
    boxes: Float64[np.ndarray, "image 2"] | None = None,
    groups: Groups | None = None,
) -> PairSet:
    """A `PairSet` of images whose annotations have the keypoints of one object each.

    Args:
      source: The images.
      pairs: Indices of source and target images.
      classes: The class of each pair.
      boxes: Width and height of the object's box in each image, pixels; None: the image is the reference.
      groups: Interchangeable parts of each class.

    Raises:
      JaxpartError: There are no pairs, or the header of an image cannot be read.
    """
    if not len(pairs):
        raise JaxpartError(
            f"{source.info.name} ({source.info.split}) has no two images of one class; use more images"
        )
    used, renumbered = np.unique(pairs, return_inverse=True)
    pairs = renumbered.reshape(-1, 2)
    images = Subset(source, used.tolist())
    ids = sorted(source.info.part_names)
    column = {part: number for number, part in enumerate(ids)}
    xy = np.zeros((len(used), len(ids), 2))
    visible = np.zeros((len(used), len(ids)), bool)
    for image in range(len(used)):
        points = images.annotation(image).keypoints
        if points is None:
            continue
        columns = [column[part] for part in points.part.tolist()]
        xy[image, columns], visible[image, columns] = points.xy, points.visible
    sizes = np.array([image_size(images, image) for image in range(len(used))], np.int64)
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
        source=images,
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
    )


def image_size(source: Source, index: int) -> tuple[int, int]:
    """(width, height) of an image: as annotated, or else from its header."""
    annotation = source.annotation(index)
    if annotation.size is not None:
        return annotation.size
    header = read_header(io.BytesIO(source[index].image), annotation.id)
    return header.width, header.height

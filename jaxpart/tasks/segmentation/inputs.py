"""Segmentation data sets, with the sizes of the protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxpart.data.resizing import Resize
from jaxpart.data.segmentation_transforms import SegmentationTest, SegmentationTrain
from jaxpart.data.sets import ade20k_object, open_set, partimagenet, pascal
from jaxpart.data.source import Source
from jaxpart.data.subset import InMemory, random_subset
from jaxpart.errors import JaxpartError
from jaxpart.tasks.segmentation.options import setting_of

_OBJECTS = {
    **dict.fromkeys(("pascal_part", "pascal_part_58", "pascal_part_116"), pascal.OBJECTS),
    "ade20k_part": tuple(ade20k_object.OBJECTS.values()),
    "partimagenet_part": partimagenet.OBJECTS,
}
"""Objects of the data sets of parts; in other data sets all parts belong to one object."""


@dataclasses.dataclass(frozen=True)
class SegmentationSet:
    """A data set with the options of the protocol.

    Attributes:
      name: Its name in the configuration, "lip".
      train: Training images.
      test: Test images.
      kind: Kind of the masks: "part" or "object".
      crop: Side of training crops and test windows, pixels.
      stride: Stride of the test windows, pixels.
      train_scale: (longest, shortest) side to fit training images into, scaled by a random ratio.
      test_scale: (longest, shortest) side to fit test images into.
      resize: Library that resizes images and label maps.
    """

    name: str
    train: Source
    test: Source
    kind: str
    crop: int
    stride: int
    train_scale: tuple[int, int]
    test_scale: tuple[int, int]
    resize: Resize = "opencv"

    def __post_init__(self) -> None:
        """Raises `JaxpartError` if the splits have different classes or none."""
        for source in (self.train, self.test):
            if len(source.info.mask_names.get(self.kind, ())) < 2:
                raise JaxpartError(
                    f"{self.name} ({source.info.split}) has no classes of {self.kind} masks; choose a "
                    "data set with such masks"
                )
        names = [source.info.mask_names[self.kind] for source in (self.train, self.test)]
        if names[0] != names[1]:
            raise JaxpartError(
                f"{self.name} has {len(names[0]) - 1} classes in {self.train.info.split}, but "
                f"{len(names[1]) - 1} others in {self.test.info.split}, and a head cannot be tested "
                "on classes that it was not trained on; take both splits from the same source"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels in the masks, background first."""
        return self.train.info.mask_names[self.kind]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, without the background, which is ignored."""
        return self.labels[1:]

    @property
    def train_transform(self) -> SegmentationTrain:
        """The published training pipeline at this set's sizes."""
        return SegmentationTrain(
            self.kind, len(self.labels), self.train_scale, resize=self.resize, crop=self.crop
        )

    @property
    def test_transform(self) -> SegmentationTest:
        """The published test pipeline at this set's sizes."""
        return SegmentationTest(self.kind, len(self.labels), self.test_scale, resize=self.resize)

    @property
    def objects(self) -> list[str]:
        """The object of each class."""
        if self.kind == "object":
            return list(self.classes)
        return part_objects(self.classes, _OBJECTS.get(self.name, ()))


def segmentation_set(name: str, config: Any) -> SegmentationSet:
    """Opens the data set of a segmentation setting.

    Raises:
      JaxpartError: It cannot be opened.
    """
    setting, seed = setting_of(config.segmentation, name), config.seed

    def open_split(split: str, count: int) -> Source:
        source = open_set(setting.data, split, config.data)
        images = random_subset(source, count, seed) if 0 < count < len(source) else source
        return InMemory(images) if config.segmentation.in_memory else images

    return SegmentationSet(
        name=name,
        train=open_split(setting.train_split, config.segmentation.train_images),
        test=open_split(setting.test_split, config.segmentation.test_images),
        kind=setting.kind,
        crop=setting.crop,
        stride=setting.stride,
        train_scale=tuple(setting.train_scale),
        test_scale=tuple(setting.test_scale),
        resize=config.segmentation.resize,
    )


def part_objects(names: Sequence[str], objects: Sequence[str]) -> list[str]:
    """The object of each part.

    Parts are named "OBJECT PART", as "chest of drawers handle"; without objects, all parts belong to one.

    Returns:
      The longest object name that a part's name starts with, else the part itself.
    """
    if not objects:
        return ["object"] * len(names)
    longest_first = sorted(objects, key=len, reverse=True)
    return [
        next(
            (whole_name for whole_name in longest_first if name.startswith(f"{whole_name} ")), name
        )
        for name in names
    ]

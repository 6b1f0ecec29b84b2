"""Critters: a drawn data set of 24 kinds that share part variants, with keypoints and masks.

Image i of a seed and split is the same everywhere: each is drawn from random numbers of its own,
keyed by (seed, split, index).
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxpart.data.critters.scene import Scene, draw_image, draw_part_mask, make_scene
from jaxpart.data.critters.species import MASK_PARTS, NAMES, PARTS
from jaxpart.data.parts import PartSelection
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints, Record
from jaxpart.errors import JaxpartError

_SPLITS = ("train", "test")
_SIZES = (32, 1024)

CRITTER_PARTS = PartSelection({3: "eye", 4: "wing", 5: "leg", 6: "tail"}, min_dist=4.0)
"""The parts of the embedded study; the distance limit is for pictures of 96 pixels."""


class Drawing(NamedTuple):
    """A picture with its masks: RGB, part labels and object labels (0: background)."""

    image: UInt8[np.ndarray, "size size 3"]
    part_mask: UInt8[np.ndarray, "size size"]
    object_mask: UInt8[np.ndarray, "size size"]


class Critters:
    """Drawn critters as a `Source`; every kind is equally frequent."""

    def __init__(
        self, split: str = "train", num_images: int = 2000, *, image_size: int = 96, seed: int = 0
    ) -> None:
        """Draws nothing yet.

        Args:
          split: "train" or "test"; they share no picture.
          num_images: Number of pictures.
          image_size: Side in pixels, 32 to 1024.
          seed: Not negative.

        Raises:
          JaxpartError: An argument is out of its range.
        """
        if split not in _SPLITS:
            raise JaxpartError(
                f"critters have no split {split!r}; choose among {', '.join(_SPLITS)}"
            )
        if not _SIZES[0] <= image_size <= _SIZES[1]:
            raise JaxpartError(
                f"critters of {image_size} pixels cannot be drawn; choose 32 to 1024"
            )
        if num_images < 1 or seed < 0:
            raise JaxpartError(
                f"critters need at least 1 image and a seed of at least 0, not {num_images} and {seed}"
            )
        self._num_images, self._size = num_images, image_size
        self._key = seed, _SPLITS.index(split)
        self.info = DatasetInfo(
            name="critters",
            split=split,
            version=f"1-{image_size}-{seed}",
            part_names=dict(enumerate(PARTS, 1)),
            class_names=NAMES,
            mask_names={"part": ("background", *MASK_PARTS), "object": ("background", *NAMES)},
        )

    def __len__(self) -> int:
        """Number of pictures."""
        return self._num_images

    def _scene(self, index: int) -> Scene:
        if not -len(self) <= index < len(self):
            raise IndexError(f"critter {index} of {len(self)}")
        index %= len(self)
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((*self._key, index))))
        return make_scene(rng, index % len(NAMES))

    def _annotation(self, index: int, scene: Scene, part_mask: np.ndarray) -> Annotation:
        size = self._size
        xy = scene.keypoints * size
        column, row = np.clip(xy.astype(int), 0, size - 1).T
        labels = np.arange(1, len(PARTS) + 1)
        inside = ((xy >= 0) & (xy < size)).all(axis=1)
        keypoints = Keypoints(
            part=labels,
            xy=xy,
            visible=inside & (part_mask[row, column] == labels),
            instance=np.zeros(len(PARTS), np.int64),
        )
        name = f"{self.info.split}/{index % len(self):06d}"
        return Annotation(name, keypoints, scene.kind)

    def annotation(self, index: int) -> Annotation:
        """Keypoints and kind; a keypoint is visible where its part is seen at its place."""
        scene = self._scene(index)
        return self._annotation(index, scene, draw_part_mask(scene, self._size))

    def draw(self, index: int) -> Drawing:
        """The picture and its masks as arrays."""
        return self._draw(self._scene(index))

    def _draw(self, scene: Scene) -> Drawing:
        part_mask = draw_part_mask(scene, self._size)
        object_mask = np.where(part_mask > 0, scene.kind + 1, 0).astype(np.uint8)
        return Drawing(draw_image(scene, self._size), part_mask, object_mask)

    def origin(self, index: int) -> str:
        """The version says all."""
        del index
        return "drawn"

    def __getitem__(self, index: int) -> Record:
        """The picture and its masks as PNG files."""
        scene = self._scene(index)
        image, part_mask, object_mask = self._draw(scene)
        return Record(
            self._annotation(index, scene, part_mask),
            _png(image),
            {"part": _png(part_mask), "object": _png(object_mask)},
        )


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return file.getvalue()

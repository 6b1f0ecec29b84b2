"""Critters: a synthetic data set of 24 kinds that share part variants, with keypoints and masks.

There are two versions. In the first, colours identify parts as well as shapes do; in the second, only
shapes and positions do: see `jaxpart.data.critters.second`. Every image has its own random seed, so
image i of a version, seed and split is the same on every machine.
"""

from __future__ import annotations

import functools
import io
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxpart.data.critters import scene as first
from jaxpart.data.critters.second import scene as second
from jaxpart.data.critters.species import MASK_PARTS, NAMES, PARTS
from jaxpart.data.parts import PartSelection
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints, Record
from jaxpart.errors import JaxpartError

CRITTERS_VERSION = 2
"""The version that the bundled small encoders were trained on; in version 1, colours identify parts."""

PRETRAINING_KINDS = 22
"""Version 2: the split "pretrain" has only the first 22 kinds."""

_DRAWERS: dict[int, Any] = {1: first, 2: second}
_REVISIONS = {1: "1", 2: "2.1"}
"""Part of the identity that features are cached under; 2.1 changed which shapes a kind combines."""
_SPLITS = {1: ("train", "test"), 2: ("train", "test", "pretrain")}
_SIZES = (32, 1024)

CRITTER_PARTS = PartSelection({3: "eye", 4: "wing", 5: "leg", 6: "tail"}, min_dist=4.0)
"""The parts of the bundled study; the distance limit suits images of 96 pixels."""


class Drawing(NamedTuple):
    """An RGB image with its masks of part and object labels (0: background)."""

    image: UInt8[np.ndarray, "size size 3"]
    part_mask: UInt8[np.ndarray, "size size"]
    object_mask: UInt8[np.ndarray, "size size"]


class Critters:
    """Drawn critters as a `Source`; all kinds of a split are equally frequent."""

    def __init__(
        self,
        split: str = "train",
        num_images: int = 2000,
        *,
        image_size: int = 96,
        seed: int = 0,
        version: int = CRITTERS_VERSION,
    ) -> None:
        """Draws nothing yet.

        Args:
          split: "train" or "test"; in version 2 also "pretrain", which lacks the last two kinds. Splits
            share no image, and in version 2 no individual.
          num_images: Number of images.
          image_size: Side in pixels, 32 to 1024.
          seed: Not negative.
          version: 1 or 2.

        Raises:
          JaxpartError: An argument is out of its range.
        """
        if version not in _SPLITS:
            raise JaxpartError(f"critters have no version {version!r}; choose 1 or 2")
        splits = _SPLITS[version]
        if split not in splits:
            raise JaxpartError(
                f"critters of version {version} have no split {split!r}; choose from "
                f"{', '.join(splits)}"
            )
        if not _SIZES[0] <= image_size <= _SIZES[1]:
            raise JaxpartError(
                f"critters of {image_size} pixels cannot be drawn; choose 32 to 1024"
            )
        if num_images < 1 or seed < 0:
            raise JaxpartError(
                f"critters need at least 1 image and a seed of at least 0, not {num_images} and {seed}"
            )
        self._num_images, self._size, self._seed = num_images, image_size, seed
        self._version = version  # not its module, which cannot be pickled
        self._kinds = PRETRAINING_KINDS if split == "pretrain" else len(NAMES)
        self._key = (*((version,) if version > 1 else ()), seed, splits.index(split))
        self.info = DatasetInfo(
            name="critters",
            split=split,
            version=f"{_REVISIONS[version]}-{image_size}-{seed}",
            part_names=dict(enumerate(PARTS, 1)),
            class_names=NAMES,
            mask_names={"part": ("background", *MASK_PARTS), "object": ("background", *NAMES)},
        )

    def __len__(self) -> int:
        """Number of images."""
        return self._num_images

    def _number(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"critter {index} of {len(self)}")
        return index % len(self)

    def _scene(self, index: int) -> Any:
        index = self._number(index)
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((*self._key, index))))
        return _DRAWERS[self._version].make_scene(rng, index % self._kinds)

    def _annotation(self, index: int, scene: Any, part_mask: np.ndarray) -> Annotation:
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
        """Keypoints and kind; a keypoint is visible where the part mask shows its part."""
        return _annotation(
            self.info.split, self._size, self._seed, self._version, self._number(index)
        )

    def draw(self, index: int) -> Drawing:
        """The image and its masks as arrays."""
        return self._draw(self._scene(index))

    def _draw(self, scene: Any) -> Drawing:
        part_mask = _DRAWERS[self._version].draw_part_mask(scene, self._size)
        object_mask = np.where(part_mask > 0, scene.kind + 1, 0).astype(np.uint8)
        return Drawing(
            _DRAWERS[self._version].draw_image(scene, self._size), part_mask, object_mask
        )

    def origin(self, index: int) -> str:
        """Constant: `info.version` determines the content."""
        del index
        return "drawn"

    def __getitem__(self, index: int) -> Record:
        """The image and its masks as PNG files."""
        scene = self._scene(index)
        image, part_mask, object_mask = self._draw(scene)
        return Record(
            self._annotation(index, scene, part_mask),
            _png(image),
            {"part": _png(part_mask), "object": _png(object_mask)},
        )


@functools.lru_cache(maxsize=1 << 14)
def _annotation(split: str, size: int, seed: int, version: int, index: int) -> Annotation:
    """Drawn once: each task asks for all of them, several times."""
    critters = Critters(split, index + 1, image_size=size, seed=seed, version=version)
    scene = critters._scene(index)
    found = critters._annotation(index, scene, _DRAWERS[version].draw_part_mask(scene, size))
    assert found.keypoints is not None
    for array in vars(found.keypoints).values():
        array.flags.writeable = False
    return found


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return file.getvalue()

"""Your own pictures: images with a COCO-style keypoint file, or images with label maps."""

from __future__ import annotations

import pathlib

import numpy as np

from jaxpart.data.coco_file import SEEN, CocoFile
from jaxpart.data.folders import (
    NotThere,
    file_sizes,
    fingerprint,
    list_images,
    list_pairs,
    read_file,
    read_ids,
)
from jaxpart.data.label_maps import LabelMaps, check_names
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints, Record, Source
from jaxpart.errors import JaxpartError

ADVICE = (
    "a part folder holds images and keypoints.json (COCO's format), or images, labels (PNG files) and "
    "classes.txt (one name a line, from label 1)"
)
_KEYPOINTS = "keypoints.json"
_CLASSES = "classes.txt"


def part_folder(root: str | pathlib.Path, split: str = "all") -> Source:
    """A folder of the reader's own pictures as a `Source`.

    With keypoints.json: all of its images, in its order, with the keypoints of all their instances;
    part ids are 1-based, instances are annotation ids, and only points with v = 2 are visible; all
    categories share the keypoint names of the first. With labels: all images by name, with a mask
    "part" whose label 0 is the background.

    Args:
      root: The folder that holds images; where there are splits, the folder that holds theirs.
      split: "all" is `root` itself; any other is the folder of that name in it.

    Raises:
      JaxpartError: The layout is wrong, a field of keypoints.json is, or an image and its label map
        do not both exist.
    """
    folder = pathlib.Path(root) if split == "all" else pathlib.Path(root) / split
    if not (folder / "images").is_dir():
        raise NotThere(f"{folder} holds no part folder: images is missing; {ADVICE}")
    if (folder / _KEYPOINTS).exists():
        return KeypointFolder(folder, split)
    if not (folder / "labels").is_dir() or not (folder / _CLASSES).exists():
        raise JaxpartError(f"{folder} has images without annotations; {ADVICE}")
    names = ("background", *read_ids(folder / _CLASSES))
    check_names(folder / _CLASSES, names)
    pairs = list_pairs(folder, "images", "labels")
    return LabelMaps("part_folder", split, folder, pairs, "part", names)


class KeypointFolder:
    """Images with a COCO-style keypoint file as a `Source`; see `part_folder`."""

    info: DatasetInfo

    def __init__(self, folder: pathlib.Path, split: str) -> None:
        """Reads the keypoints; images that the file lists must be there."""
        self._folder = folder
        path = folder / _KEYPOINTS
        data = read_file(path)
        document = CocoFile(path, data)
        part_names = document.part_names()
        ids = document.image_ids()
        names = document.file_names(ids)
        there = set(list_images(folder / "images"))
        missing = next((name for name in names if name not in there), None)
        if missing is not None:
            raise JaxpartError(f"{path} lists {missing}, which is not in {folder / 'images'}")
        image, instance = document.persons()
        points = document.points(len(part_names))
        rows: dict[int, list[int]] = {key: [] for key in ids}
        for row, key in enumerate(image.tolist()):
            rows[key].append(row)
        parts = np.arange(1, len(part_names) + 1)
        self._annotations = [
            Annotation(
                f"images/{name}",
                Keypoints(
                    part=np.tile(parts, len(rows[key])),
                    xy=points[rows[key], :, :2].reshape(-1, 2),
                    visible=(points[rows[key], :, 2] == SEEN).reshape(-1),
                    instance=instance[rows[key]].repeat(len(parts)),
                ),
            )
            for key, name in zip(ids, names, strict=True)
        ]
        files = file_sizes(folder, (annotation.id for annotation in self._annotations))
        self.info = DatasetInfo(
            name="part_folder",
            split=split,
            version=fingerprint(data, files),
            part_names=dict(enumerate(part_names, 1)),
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self._annotations)

    def annotation(self, index: int) -> Annotation:
        """The image's keypoints."""
        return self._annotations[index]

    def origin(self, index: int) -> tuple[str, ...]:
        """The image's file."""
        return (f"{self._folder}/{self._annotations[index].id}",)

    def __getitem__(self, index: int) -> Record:
        """An image with its keypoints."""
        annotation = self._annotations[index]
        return Record(annotation, read_file(self._folder / annotation.id))

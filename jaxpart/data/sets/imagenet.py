"""ImageNet-1k from class folders: train/n01440764/*.JPEG and val/n01440764/*.JPEG."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from jaxpart.data.folders import (
    NotThere,
    check_split,
    composed,
    fingerprint,
    list_folders,
    list_images,
    read_file,
    walk_images,
)
from jaxpart.data.label_maps import SPLITS
from jaxpart.data.layouts import Layout, find_layout
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError

ADVICE = (
    "unpack ILSVRC2012 (https://image-net.org, registration) there, with the images of each class in a "
    "folder of its own, of val too"
)
_PLACES = (
    "imagenet",
    "ImageNet",
    "ILSVRC2012",
    "ILSVRC/Data/CLS-LOC",
    "imagenet-1k",
    "imagenet1k",
    "ILSVRC2012_img",
)


class ImageNet:
    """The images of class folders as a `Source`, sorted by class and name.

    A label is the index of the class folder in the sorted class folders of both splits: ImageNet-1k's
    usual labels if all 1000 exist. `class_names` are the folders' names (WordNet ids).
    """

    info: DatasetInfo

    def __init__(self, root: str | pathlib.Path, split: str) -> None:
        """Lists the folders; reads no image.

        Args:
          root: The folder with train and val, or one above it ("imagenet", "ILSVRC2012").
          split: "train" or "val".

        Raises:
          JaxpartError: The layout is wrong, or a class folder is empty or a link to another.
        """
        check_split("ImageNet", split, SPLITS)
        layouts = {"folders": Layout(_PLACES, SPLITS)}
        _, folder = find_layout(root, "ImageNet", layouts, ADVICE)
        if not (folder / split).is_dir():
            raise NotThere(f"{folder} has no folder {split}; {ADVICE}")
        classes = {s: list_folders(folder / s) for s in SPLITS if (folder / s).is_dir()}
        if not classes[split]:
            raise JaxpartError(f"{folder / split} holds no class folder; {ADVICE}")
        first: dict[str, str] = {}
        for name in classes[split]:
            other = first.setdefault(os.path.realpath(folder / split / name), name)
            if other != name:
                raise JaxpartError(
                    f"{folder / split / name} is the same folder as {other}, so its images would be of two "
                    "classes; remove the link"
                )
        names = sorted({composed(n) for n in itertools.chain.from_iterable(classes.values())})
        label = {name: i for i, name in enumerate(names)}
        self._folder = folder / split
        self._split = split
        files = [(name, walk_images(self._folder / name)) for name in classes[split]]
        self._files = [f"{name}/{image}" for name, images in files for image in images]
        self._labels = np.repeat(
            [label[composed(name)] for name, _ in files], [len(images) for _, images in files]
        )
        self.info = DatasetInfo(
            name="imagenet",
            split=split,
            version=fingerprint("\n".join((*names, *self._files))),
            class_names=tuple(names),
            notes=tuple(_notes(folder / split)),
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self._files)

    def annotation(self, index: int) -> Annotation:
        """The image's path and class."""
        label = int(self._labels[index])
        return Annotation(f"{self._split}/{self._files[index]}", label=label)

    def origin(self, index: int) -> tuple[str, ...]:
        """The image's file."""
        return (f"{self._folder}/{self._files[index]}",)

    def __getitem__(self, index: int) -> Record:
        """An image with its class."""
        return Record(self.annotation(index), read_file(self._folder / self._files[index]))


def _notes(folder: pathlib.Path) -> Iterator[str]:
    """A note on images beside the class folders."""
    with contextlib.suppress(JaxpartError):  # there are none
        loose = list_images(folder)
        yield (
            f"images beside the class folders: {len(loose)} (the first {folder.name}/{loose[0]}); they "
            "are left out"
        )

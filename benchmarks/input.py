"""ImageNet's transforms beside torchvision's DataLoader on the same files: python -m benchmarks input

Both read the files, decode, transform and batch. "usual": torchvision ends in ToTensor and
Normalize, float32 on the host, as its users run it; jaxpart sends uint8 and normalises on the
device. "like for like": torchvision too stops at uint8. One core: everything in one process pinned
to one core. All cores: threads here, as many worker processes there, their start included. Crops for
segmentation have no counterpart there: worker processes are compared with threads, once both have
started.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.stand_ins import photographs
from benchmarks.timing import Row, faster, medians, value
from jaxpart.data.augment import ImageEval, ImageTrain
from jaxpart.data.folders import read_file
from jaxpart.data.input import Transform, load
from jaxpart.data.segmentation_transforms import SegmentationTrain
from jaxpart.data.source import Annotation, DatasetInfo, Record

BATCH = 64
BICUBIC = transforms.InterpolationMode.BICUBIC
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
USUAL = (transforms.ToTensor(), transforms.Normalize(MEAN, STD))
LIKE = (transforms.PILToTensor(),)
THEIRS = {
    "train": (
        transforms.RandomResizedCrop(224, interpolation=BICUBIC),
        transforms.RandomHorizontalFlip(),
    ),
    "eval": (transforms.Resize(256, BICUBIC), transforms.CenterCrop(224)),
}
OURS: dict[str, Transform] = {"train": ImageTrain(), "eval": ImageEval()}


def write_images(folder: pathlib.Path, images: int) -> list[pathlib.Path]:
    """JPEG files of about 500 × 375 pixels and 50 kB."""
    sides = np.random.default_rng(0).integers((440, 330), (561, 421), (images, 2))
    return photographs(folder, map(tuple, sides.tolist()))


class Ours:
    """The files as a `Source`."""

    info = DatasetInfo("photographs", "all", "1")

    def __init__(self, paths: list[pathlib.Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def annotation(self, index: int) -> Annotation:
        return Annotation(self._paths[index].name, label=index)

    def origin(self, index: int) -> tuple[str]:
        return (str(self._paths[index]),)

    def __getitem__(self, index: int) -> Record:
        return Record(self.annotation(index), read_file(self._paths[index]))


class Theirs(torch.utils.data.Dataset):
    """The files as torchvision's ImageFolder opens them."""

    def __init__(self, paths: list[pathlib.Path], transform: transforms.Compose) -> None:
        self._paths, self._transform = paths, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int):
        with self._paths[index].open("rb") as file:
            image = Image.open(file).convert("RGB")
        return self._transform(image), index


def run_ours(paths: list[pathlib.Path], name: str) -> None:
    loader = load(Ours(paths), OURS[name], batch_size=BATCH, shuffle=True, epochs=1)
    with contextlib.closing(loader):
        assert sum(len(batch.arrays["image"]) for batch in loader) >= len(paths)


def run_theirs(paths: list[pathlib.Path], steps: tuple, workers: int) -> None:
    data = Theirs(paths, transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(data, BATCH, shuffle=True, num_workers=workers)
    assert sum(len(images) for images, _ in loader) == len(paths)


class Masked(Ours):
    """The files with label maps of 209 classes in rectangles."""

    info = DatasetInfo("masked photographs", "all", "1", mask_names={"part": ("",) * 210})

    def __init__(self, paths: list[pathlib.Path]) -> None:
        super().__init__(paths)
        random = np.random.default_rng(0)
        self._masks = []
        for path in paths:
            with Image.open(path) as image:
                small = Image.fromarray(random.integers(0, 210, (8, 8)).astype(np.uint8))
                mask, file = small.resize(image.size, Image.Resampling.NEAREST), io.BytesIO()
            mask.save(file, "png")
            self._masks.append(file.getvalue())

    def __getitem__(self, index: int) -> Record:
        return dataclasses.replace(super().__getitem__(index), masks={"part": self._masks[index]})


CROP = SegmentationTrain("part", 210, (2048, 512), crop=512)
"""Crops for segmentation as on ADE20K-Part."""


def crops(paths: list[pathlib.Path]) -> Callable[[], object]:
    """Makes a crop of each image, alone."""
    records, random = list(Masked(paths)), np.random.default_rng(0)
    return lambda: [CROP(record, random) for record in records]


def loaded_crops(source: Masked, workers: int, batches: int) -> float:
    """Crops a second that a loader gives once it has started, in batches of 16 as in training."""
    loader = load(source, CROP, batch_size=16, shuffle=True, epochs=None, workers=workers)
    with contextlib.closing(loader):
        for _ in range(2 + 2 * workers):  # what was made ahead while the workers started
            next(loader)
        begun = time.perf_counter()
        for _ in range(batches):
            next(loader)
        return 16 * batches / (time.perf_counter() - begun)


def crop_rates(paths: list[pathlib.Path], cores: int, runs: int, batches: int) -> Row:
    """Worker processes beside threads, in turns."""
    source, rates = Masked(paths), {0: list[float](), cores: list[float]()}
    for _ in range(runs):
        for workers, found in rates.items():
            found.append(loaded_crops(source, workers, batches))
    threads, processes = map(statistics.median, rates.values())
    what = f"segmentation crops of 512, {cores} worker processes"
    return faster(what, processes, threads, "threads", goal=0.9, unit="crops/s")


def rates(paths: list[pathlib.Path], where: str, workers: int, runs: int) -> list[Row]:
    rows = []
    for name, steps in THEIRS.items():
        seconds = medians(
            runs,
            ours=lambda name=name: run_ours(paths, name),
            usual=lambda steps=steps: run_theirs(paths, (*steps, *USUAL), workers),
            like=lambda steps=steps: run_theirs(paths, (*steps, *LIKE), workers),
        )
        ours, usual, like = (len(paths) / taken for taken in seconds.values())
        what, unit = f"{name}, {where}", "images/s"
        rows.append(faster(what, ours, usual, "torchvision, usual", goal=1, unit=unit))
        rows.append(faster(what, ours, like, "torchvision, like for like", unit=unit))
    return rows


def rows(quick: bool) -> list[Row]:
    torch.set_num_threads(1)
    cores = os.sched_getaffinity(0)
    images, runs = (8, 1) if quick else (128, 5)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(pathlib.Path(folder), images)
        size = sum(path.stat().st_size for path in paths) / len(paths)
        os.sched_setaffinity(0, {min(cores)})
        rows = [value("mean size of a file", size / 1e3, "kB"), *rates(paths, "one core", 0, runs)]
        seconds = medians(runs, crops=crops(paths))["crops"]
        rows.append(value("segmentation crops of 512, one core", images / seconds, "images/s"))
        os.sched_setaffinity(0, cores)
        rows += rates(paths * 2, f"all {len(cores)} cores", len(cores), runs)
        rows.append(crop_rates(paths, len(cores), runs, 2 if quick else 24))
    return rows

"""ImageNet's transforms beside torchvision's DataLoader on the same files: python -m benchmarks input

Both read the files, decode, transform and batch. "usual": torchvision ends in ToTensor and Normalize,
float32 on the host, as in common use; jaxpart sends uint8 and normalises on the device. "like for like":
torchvision also stops at uint8. One core: everything in one process pinned to one core. All cores: threads
in jaxpart, as many worker processes in torchvision. Segmentation crops have no torchvision counterpart:
worker processes are compared with threads.

Measures the throughput of an endless stream: timing starts once threads or workers are running and the
batches they prefetched meanwhile are consumed. The sides alternate, one running at a time, and their
medians over several turns are compared.
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
from collections.abc import Callable, Iterator

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
    """The files, opened as torchvision's ImageFolder does."""

    def __init__(self, paths: list[pathlib.Path], transform: transforms.Compose) -> None:
        self._paths, self._transform = paths, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int):
        with self._paths[index].open("rb") as file:
            image = Image.open(file).convert("RGB")
        return self._transform(image), index


def rate(batches: Iterator[object], size: int, workers: int, count: int) -> float:
    """Items per second of a stream of batches of `size`, timed over `count` batches."""
    for _ in range(2 + 2 * workers):  # batches prefetched while threads or workers started
        next(batches)
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    return size * count / (time.perf_counter() - start)


def our_rate(
    source: Ours, transform: Transform, size: int, workers: int, cores: int, count: int
) -> float:
    """The rate of jaxpart's loader with worker processes, or with threads if `workers` is 0."""
    loader = load(source, transform, batch_size=size, shuffle=True, epochs=None, workers=workers)
    with contextlib.closing(loader):
        return rate(loader, size, cores, count)


def their_rate(
    paths: list[pathlib.Path], steps: tuple, size: int, workers: int, count: int
) -> float:
    """The rate of torchvision's loader, whose workers persist across epochs like jaxpart's."""
    data = Theirs(paths, transforms.Compose(steps))
    endless = torch.utils.data.RandomSampler(data, num_samples=1_000_000)
    loader = torch.utils.data.DataLoader(data, size, sampler=endless, num_workers=workers)
    return rate(iter(loader), size, workers, count)


def in_turns(turns: int, **sides: Callable[[], float]) -> dict[str, float]:
    """The median rate of each side; the sides alternate."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            rates[name].append(side())
    return {name: statistics.median(values) for name, values in rates.items()}


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
"""Segmentation crops as for ADE20K-Part."""


def crops(paths: list[pathlib.Path]) -> Callable[[], object]:
    """A function that makes a crop of each image, without a loader."""
    records, random = list(Masked(paths)), np.random.default_rng(0)
    return lambda: [CROP(record, random) for record in records]


def crop_rates(paths: list[pathlib.Path], cores: int, turns: int, count: int) -> Row:
    """Worker processes against threads, in batches of 16 as in training."""
    source = Masked(paths)
    throughput = in_turns(
        turns,
        threads=lambda: our_rate(source, CROP, 16, 0, cores, count),
        processes=lambda: our_rate(source, CROP, 16, cores, cores, count),
    )
    what = f"segmentation crops of 512, {cores} worker processes"
    return faster(
        what, throughput["processes"], throughput["threads"], "threads", goal=0.9, unit="crops/s"
    )


def rates(
    paths: list[pathlib.Path], where: str, size: int, workers: int, turns: int, count: int
) -> list[Row]:
    rows = []
    for name, steps in THEIRS.items():
        throughput = in_turns(
            turns,
            ours=lambda name=name: our_rate(Ours(paths), OURS[name], size, 0, workers, count),
            usual=lambda steps=steps: their_rate(paths, (*steps, *USUAL), size, workers, count),
            like=lambda steps=steps: their_rate(paths, (*steps, *LIKE), size, workers, count),
        )
        what, unit, ours = f"{name}, {where}", "images/s", throughput["ours"]
        rows.append(
            faster(what, ours, throughput["usual"], "torchvision, usual", goal=1, unit=unit)
        )
        rows.append(faster(what, ours, throughput["like"], "torchvision, like for like", unit=unit))
    return rows


def rows(quick: bool) -> list[Row]:
    torch.set_num_threads(1)
    cores = os.sched_getaffinity(0)
    images, turns, count, batch = (8, 1, 1, 4) if quick else (128, 5, 4, 64)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(pathlib.Path(folder), images)
        size = sum(path.stat().st_size for path in paths) / len(paths)
        os.sched_setaffinity(0, {min(cores)})
        rows = [value("mean size of a file", size / 1e3, "kB")]
        rows += rates(paths, "one core", batch, 0, turns, count)
        seconds = medians(turns, crops=crops(paths))["crops"]
        rows.append(value("segmentation crops of 512, one core", images / seconds, "images/s"))
        os.sched_setaffinity(0, cores)
        rows += rates(paths, f"all {len(cores)} cores", batch, len(cores), turns, 2 * count)
        rows.append(crop_rates(paths, len(cores), turns, 3 * count))
    return rows

"""Full-size data sets, as stand-ins for their official folders: python -m benchmarks rehearsal

    python -m benchmarks.rehearsal --scale 0.01              # a hundredth of the records
    python -m benchmarks.rehearsal --folder FOLDER           # keeps the stand-ins in FOLDER, or reuses them
    python -m benchmarks.rehearsal --only coco_person_parts features

Each figure comes from its own process. "opened": all splits of a set from its official folder, first with
an empty cache, then with the cache left by that. "patches": the part patches of the retrieval split.
"crops": training crops as segmentation reads them, by threads. "features": random rows of token features
from a disk cache. Wall-clock times come with the CPU time of all threads, which varies less on a busy
machine.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmarks import stand_ins
from benchmarks.timing import Row, faster, in_fresh_process, memory, table, value

PARTS = ("cub_parts", "coco_person_parts")
SEGMENTATION = ("ade20k_part", "ade20k", "ade20k_object", "pascal_part", "pascal_object", "lip")
NAMES = (*PARTS, *SEGMENTATION, "imagenet", "features")

OPENED = 3.0
CROPS = 150.0
GIGABYTES = 1.0
"""The goals: seconds at most, crops a second at least, and GB a second at least."""

TOKENS = (197, 768)
"""Shape of an image's tokens from ViT-B/16 at 224 pixels, in float32."""
ROWS = 3400
"""Images whose tokens are read: 2 GB."""
ADDRESS = {"view": "rehearsal"}
BATCH = 256
"""Images in a batch of the attentive probe."""


def rows(quick: bool) -> list[Row]:
    return list(measured(0.001 if quick else 1.0))


def measured(
    scale: float, names: Sequence[str] = NAMES, folder: pathlib.Path | None = None
) -> Iterator[Row]:
    """The rows of some sets.

    Args:
      scale: Fraction of the official number of records, and of the features.
      names: A selection of `NAMES`.
      folder: Where the stand-ins are kept; None: they are generated and then deleted.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = folder or pathlib.Path(scratch) / "sets"
        if not root.exists():
            in_fresh_process(stand_ins.make_all, root, scale)
        for name in names:
            if name == "features":
                images = max(8, round(ROWS * scale))
                in_fresh_process(store_features, f"{scratch}/features", images)
                yield from in_fresh_process(features, f"{scratch}/features", images)
                continue
            cache = f"{scratch}/{name}"
            yield from in_fresh_process(opened, name, str(root), cache, "first")
            yield from in_fresh_process(opened, name, str(root), cache, "second")
            if name in PARTS:
                yield from in_fresh_process(patches, name, str(root), cache)
            if name in SEGMENTATION:
                yield from in_fresh_process(crops, name, str(root), cache, 5 if scale < 1 else 60)


def configuration(root: str, cache: str):
    """The paper's configuration with its data under `root`; sets this process's cache folder to `cache`."""
    os.environ["XDG_CACHE_HOME"] = cache
    from jaxpart.config import part_config

    config = part_config("ibot", "paper", projector=True)
    config.data.root = root
    return config


@contextlib.contextmanager
def clock() -> Iterator[Callable[[], tuple[float, float]]]:
    """Yields a function that returns the elapsed wall-clock and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield lambda: (time.perf_counter() - wall, time.process_time() - cpu)


def opened(name: str, root: str, cache: str, time_: str) -> list[Row]:
    """Opens all splits of a set; `time_` is "first" or "second"."""
    config = configuration(root, cache)
    from jaxpart.data.sets import open_splits

    with clock() as elapsed:
        sources = open_splits(name, config.data)
        seconds, cpu = elapsed()
    what = f"{name}, {sum(map(len, sources.values())):,} images: opened the {time_} time"
    first = time_ == "first"
    most = None if first else OPENED
    measurements = [
        value(what, seconds, "s", most=most),
        value(f"{name}, the same, CPU time", cpu, "s", most=most),
    ]
    if first:
        measurements.append(value(f"{name}, the same, peak memory", memory(), "GiB"))
    return measurements


def patches(name: str, root: str, cache: str) -> list[Row]:
    """Finds the part patches of the retrieval split."""
    config = configuration(root, cache)
    from jaxpart.data.sets import retrieval_set
    from jaxpart.runs.progress import Progress
    from jaxpart.tasks.patches import find_patches

    source, selection = retrieval_set(name, config.data)
    with clock() as elapsed:
        matches = find_patches(source, selection, Progress(shown=False))
        seconds, cpu = elapsed()
    return [
        value(f"{name}: {len(matches):,} part patches found", seconds, "s"),
        value(f"{name}, the same, CPU time", cpu, "s"),
    ]


def crops(name: str, root: str, cache: str, most: int) -> list[Row]:
    """Training crops once the loader has started: `most` batches of 16, for half a minute at most.

    Reads part of the set, whose label maps are checked beforehand, as a run checks all of them.
    """
    config = configuration(root, cache)
    from jaxpart.data.input import load
    from jaxpart.data.subset import random_subset
    from jaxpart.runs.progress import Progress
    from jaxpart.tasks.segmentation.inputs import segmentation_set
    from jaxpart.tasks.segmentation.survey import survey

    data = segmentation_set(name, config)
    images = min(16 * (most + 2), len(data.train))
    subset = random_subset(data.train, images, 0)
    data = dataclasses.replace(data, train=subset, test=random_subset(data.test, 1, 0))
    with clock() as elapsed:
        survey(data, Progress(shown=False))
        checking = elapsed()[0]
    loader = load(data.train, data.train_transform, batch_size=16, shuffle=True, epochs=None)
    count, seconds, cpu = 0, 0.0, 0.0
    with contextlib.closing(loader):
        for _ in range(2):
            next(loader)
        with clock() as elapsed:
            while count < 16 * most and seconds < 30:
                count += len(next(loader).valid)
                seconds, cpu = elapsed()
    cores = len(os.sched_getaffinity(0))
    per_cores = f"{name}, the same, with {cores} cores fully busy"
    return [
        value(f"{name}: label maps checked once", images / checking, "images/s"),
        value(f"{name}: crops of {data.crop}", count / seconds, "crops/s", least=CROPS),
        value(per_cores, cores * count / cpu, "crops/s", least=CROPS),
    ]


def store_features(folder: str, images: int) -> None:
    """Writes token features of `images` images to a disk cache."""
    from jaxpart.features.cache import Cache, Shard

    shard_size = max(1, min(images, (128 << 20) // (4 * TOKENS[0] * TOKENS[1])))
    random = np.random.default_rng(0)
    for start in range(0, images, shard_size):
        ids = [str(i) for i in range(start, min(start + shard_size, images))]
        rows = random.random((len(ids), *TOKENS), np.float32)
        Cache("disk", folder).write(ADDRESS, Shard(ids, rows))


def features(folder: str, images: int) -> list[Row]:
    """Random rows of stored features, alternating with the memory map: from disk, then page cache."""
    from jaxpart.features.cache import Cache
    from jaxpart.features.extract import Features

    cache, measurements = Cache("disk", folder), []
    row_gigabytes = 4 * TOKENS[0] * TOKENS[1] / 1e9
    for time_ in ("first", "second"):
        with clock() as elapsed:
            shards, _ = cache.read(ADDRESS)
            seconds = elapsed()[0]
        what = (
            f"token features, {images * row_gigabytes:.2g} GB: opened the {time_} time in a process"
        )
        measurements.append(value(what, seconds, "s"))
    kept = Features(shards, [str(i) for i in range(images)])
    rows_of = {key: row for shard in shards for key, row in zip(shard.ids, shard.rows, strict=True)}

    def mapped(batch: np.ndarray) -> np.ndarray:
        return np.stack([rows_of[str(i)] for i in batch])

    order = np.random.default_rng(1).permutation(images)
    batches = [order[start : start + BATCH] for start in range(0, images, BATCH)]
    batches = batches if len(batches) > 1 else np.array_split(order, 2)
    for where in ("disk", "page cache"):
        if where == "disk":
            forget_files(pathlib.Path(folder))
        spent = np.zeros((2, 3))  # for each way: GB, seconds and CPU seconds
        for number, batch in enumerate(batches):
            with clock() as elapsed:
                (kept.__getitem__, mapped)[number % 2](batch)
                spent[number % 2] += (len(batch) * row_gigabytes, *elapsed())
        (ours, map_), (per_cpu, _) = spent[:, 0] / spent[:, 1], spent[:, 0] / spent[:, 2]
        what = f"token features, random rows from the {where}"
        measurements += [
            value(what, ours, "GB/s", least=GIGABYTES),
            value(f"{what}, per CPU time", per_cpu, "GB/s"),
            faster(f"{what}, alternating", ours, map_, "the memory map", unit="GB/s"),
        ]
    return measurements


def forget_files(folder: pathlib.Path) -> None:
    """Flushes files to disk and drops them from the page cache (Linux)."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rehearsal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the official records")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--folder", type=pathlib.Path, help="keep the stand-ins here")
    options = parser.parse_args(arguments)
    results = []
    for row in measured(options.scale, options.only, options.folder):
        print(table([("", row)]).splitlines()[-1], file=sys.stderr, flush=True)
        results.append(("rehearsal", row))
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

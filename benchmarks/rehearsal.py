"""Data sets of full size, by stand-ins of their official folders: python -m benchmarks rehearsal

    python -m benchmarks.rehearsal --scale 0.01              # a hundredth of the records
    python -m benchmarks.rehearsal --folder FOLDER           # keeps the stand-ins there, or uses them
    python -m benchmarks.rehearsal --only coco_person_parts features

Each figure comes from a process of its own. "opened": all splits of a set from its official folder, first
with an empty cache, then with the one that this has left. "patches": the part patches of the split of
retrieval. "crops": training crops as segmentation reads them, by threads. "features": random rows of
token features from a disk cache. Beside the time that passed stands that of the processor, of all
threads, which a busy machine changes less.
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
"""Of an image, by ViT-B/16 at 224 pixels, in float32."""
ROWS = 3400
"""Images whose tokens are read: 2 GB."""
ADDRESS = {"view": "rehearsal"}
BATCH = 256
"""Images of a batch of the attentive probe."""


def rows(quick: bool) -> list[Row]:
    return list(measured(0.001 if quick else 1.0))


def measured(
    scale: float, names: Sequence[str] = NAMES, folder: pathlib.Path | None = None
) -> Iterator[Row]:
    """The rows of some sets.

    Args:
      scale: Share of the official number of records, and of the features.
      names: Of `NAMES`.
      folder: Where the stand-ins are kept; None: they are made anew and removed.
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
    """The paper's configuration with its data below `root`; a process's caches are in `cache`."""
    os.environ["XDG_CACHE_HOME"] = cache
    from jaxpart.config import part_config

    config = part_config("ibot", "paper", projector=True)
    config.data.root = root
    return config


@contextlib.contextmanager
def clock() -> Iterator[Callable[[], tuple[float, float]]]:
    """Yields a function of the seconds since, and of the processor's."""
    begun, worked = time.perf_counter(), time.process_time()
    yield lambda: (time.perf_counter() - begun, time.process_time() - worked)


def opened(name: str, root: str, cache: str, time_: str) -> list[Row]:
    """All splits of a set: "first" or "second" time."""
    config = configuration(root, cache)
    from jaxpart.data.sets import open_splits

    with clock() as taken:
        sources = open_splits(name, config.data)
        seconds, worked = taken()
    what = f"{name}, {sum(map(len, sources.values())):,} images: opened the {time_} time"
    first = time_ == "first"
    most = None if first else OPENED
    found = [
        value(what, seconds, "s", most=most),
        value(f"{name}, the same, processor", worked, "s", most=most),
    ]
    if first:
        found.append(value(f"{name}, the same, peak of memory", memory(), "GiB"))
    return found


def patches(name: str, root: str, cache: str) -> list[Row]:
    """The part patches of the split of retrieval."""
    config = configuration(root, cache)
    from jaxpart.data.sets import retrieval_set
    from jaxpart.runs.progress import Progress
    from jaxpart.tasks.patches import find_patches

    source, selection = retrieval_set(name, config.data)
    with clock() as taken:
        found = find_patches(source, selection, Progress(shown=False))
        seconds, worked = taken()
    return [
        value(f"{name}: its {len(found):,} part patches found", seconds, "s"),
        value(f"{name}, the same, processor", worked, "s"),
    ]


def crops(name: str, root: str, cache: str, most: int) -> list[Row]:
    """Training crops once the loader has started: `most` batches of 16, or those of half a minute.

    A part of the set is read, whose label maps are looked at before, as those of all are in a run.
    """
    config = configuration(root, cache)
    from jaxpart.data.input import load
    from jaxpart.data.subset import random_subset
    from jaxpart.runs.progress import Progress
    from jaxpart.tasks.segmentation.inputs import segmentation_set
    from jaxpart.tasks.segmentation.survey import survey

    data = segmentation_set(name, config)
    images = min(16 * (most + 2), len(data.train))
    some = random_subset(data.train, images, 0)
    data = dataclasses.replace(data, train=some, test=random_subset(data.test, 1, 0))
    with clock() as taken:
        survey(data, Progress(shown=False))
        looked = taken()[0]
    loader = load(data.train, data.train_transform, batch_size=16, shuffle=True, epochs=None)
    made, seconds, worked = 0, 0.0, 0.0
    with contextlib.closing(loader):
        for _ in range(2):
            next(loader)
        with clock() as taken:
            while made < 16 * most and seconds < 30:
                made += len(next(loader).valid)
                seconds, worked = taken()
    cores = len(os.sched_getaffinity(0))
    whole = f"{name}, the same, by {cores} cores at work"
    return [
        value(f"{name}: label maps looked at, once", images / looked, "images/s"),
        value(f"{name}: crops of {data.crop}", made / seconds, "crops/s", least=CROPS),
        value(whole, cores * made / worked, "crops/s", least=CROPS),
    ]


def store_features(folder: str, images: int) -> None:
    """Token features of so many images, in a cache on disk."""
    from jaxpart.features.cache import Cache, Shard

    at_once = max(1, min(images, (128 << 20) // (4 * TOKENS[0] * TOKENS[1])))
    random = np.random.default_rng(0)
    for start in range(0, images, at_once):
        ids = [str(i) for i in range(start, min(start + at_once, images))]
        rows = random.random((len(ids), *TOKENS), np.float32)
        Cache("disk", folder).write(ADDRESS, Shard(ids, rows))


def features(folder: str, images: int) -> list[Row]:
    """Random rows of stored features, in turns with the memory map: from the disk, and then again."""
    from jaxpart.features.cache import Cache
    from jaxpart.features.extract import Features

    cache, found = Cache("disk", folder), []
    of_row = 4 * TOKENS[0] * TOKENS[1] / 1e9
    for time_ in ("first", "second"):
        with clock() as taken:
            shards, _ = cache.read(ADDRESS)
            seconds = taken()[0]
        what = f"token features, {images * of_row:.2g} GB: opened the {time_} time in a process"
        found.append(value(what, seconds, "s"))
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
        spent = np.zeros((2, 3))  # of each way GB, seconds, and the processor's
        for number, batch in enumerate(batches):
            with clock() as taken:
                (kept.__getitem__, mapped)[number % 2](batch)
                spent[number % 2] += (len(batch) * of_row, *taken())
        (ours, map_), (worked, _) = spent[:, 0] / spent[:, 1], spent[:, 0] / spent[:, 2]
        what = f"token features, random rows from the {where}"
        found += [
            value(what, ours, "GB/s", least=GIGABYTES),
            value(f"{what}, of a processor's time", worked, "GB/s"),
            faster(f"{what}, in turns", ours, map_, "the memory map", unit="GB/s"),
        ]
    return found


def forget_files(folder: pathlib.Path) -> None:
    """Writes files out and takes them from the page cache (Linux)."""
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
    parser.add_argument("--scale", type=float, default=1.0, help="share of the official records")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--folder", type=pathlib.Path, help="keep the stand-ins there")
    given = parser.parse_args(arguments)
    found = []
    for row in measured(given.scale, given.only, given.folder):
        print(table([("", row)]).splitlines()[-1], file=sys.stderr, flush=True)
        found.append(("rehearsal", row))
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

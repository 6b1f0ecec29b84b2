"""Estimates what a run takes before it begins: images to encode, bytes of cache, and minutes."""

from __future__ import annotations

import collections
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from jaxpart import devices
from jaxpart.cpu.memory import memory_limit
from jaxpart.errors import JaxpartError
from jaxpart.features.cache import PRECISIONS, open_cache, size_text
from jaxpart.features.extract import absent_items, seconds_per_image
from jaxpart.features.representations import item_shapes
from jaxpart.features.table import FeatureTable
from jaxpart.probes.items import free_memory
from jaxpart.runs.progress import Progress, duration
from jaxpart.tasks.plans import Need, Pass, Plan, names_by_kind

_MANY = 20_000
"""Runs that encode at least this many images announce what they take."""

_PROBE = 8
"""Images per device that an encoder is timed on: a ViT-B takes a third of a second for one on a CPU."""

_READ = 1e9
"""Bytes read per second of features that do not stay in memory, see docs/performance.md."""


class Estimate(NamedTuple):
    """What a plan takes in addition to those before it.

    Attributes:
      what: Data set and task.
      items: Images or patches whose features it reads, or else images of its splits.
      encoded: Images to encode, those of training and testing too.
      stored: Bytes of features to be stored.
      read: Bytes of features that heads read again, since they do not stay in memory.
    """

    what: str
    items: int
    encoded: Sequence[Pass]
    stored: int
    read: int

    @property
    def images(self) -> int:
        """Images to encode."""
        return sum(one.images for one in self.encoded)


def estimate(plans: Sequence[Plan], options: Any, progress: Progress) -> list[Estimate]:
    """What each plan takes.

    Args:
      plans: In the order in which they are carried out.
      options: The configuration's `features`.
      progress: Reports damaged files of the cache.

    Raises:
      JaxpartError: The features do not fit where they are kept, on the disk or in memory.
    """
    names = names_by_kind(plans)
    planned: dict[Hashable, set[str]] = collections.defaultdict(set)
    found = []
    for plan in plans:
        encoded, stored = list(plan.passes()), 0
        for need in plan.needs.values():
            wanted = names[need.kind()]
            sizes = _item_bytes(need, wanted, options)
            absent = absent_items(need.encoder, need.view, wanted, options, progress)
            lacking: set[str] = set()
            for name, (address, keys) in absent.items():
                new = keys - planned[address]
                planned[address] |= new
                lacking |= new
                stored += len(new) * sizes[name]
            lacked = tuple(name for name, (_, keys) in absent.items() if keys)
            encoded.append(Pass(need.encoder, need.view.size, lacked, len(lacking)))
        read = [need.view.ids for need in plan.needs.values()] or plan.sources
        items = sum(map(len, read))
        found.append(Estimate(plan.what, items, encoded, stored, _read(plan, options)))
    kept = all(need.encoder.digest for plan in plans for need in plan.needs.values())
    _check_room(found, options, options.cache if kept else "off")
    return found


def announce(plans: Sequence[Plan], options: Any, progress: Progress) -> None:
    """Announces what plans take if it is much; raises if it does not fit, see `estimate`."""
    found = estimate(plans, options, progress)
    if sum(one.images for one in found) >= _MANY:
        for line in lines(found):
            progress.say(line)


def lines(estimates: Iterable[Estimate]) -> list[str]:
    """A line for each plan, and one for all; every encoder is timed on a few images."""
    speeds: dict[Hashable, float] = {}
    said, total, bytes_ = [], 0.0, 0
    for one in estimates:
        seconds = one.read / _READ
        for encoder, side, names, images in one.encoded:
            key = encoder.identity, side
            # A file of features encodes nothing.
            if images and key not in speeds and not isinstance(encoder, FeatureTable):
                batch = _PROBE * devices.count()
                speeds[key] = seconds_per_image(encoder, side, names, batch_size=batch)
            seconds += images * speeds.get(key, 0.0)
        total, bytes_ = total + seconds, bytes_ + one.stored
        said.append(
            f"{one.what}: {one.items:,} items, {one.images:,} images to encode, "
            f"{size_text(one.stored)} of features to store, about {duration(seconds)}"
        )
    return [
        *said,
        f"in all {size_text(bytes_)} and about {duration(total)}, estimated by timing encoders on a few "
        "images; training the heads takes extra time",
    ]


def _item_bytes(need: Need, names: Sequence[str], options: Any) -> dict[str, int]:
    """Bytes of an item's features by representation; those of a file of features are not stored."""
    if isinstance(need.encoder, FeatureTable):
        return dict.fromkeys(names, 0)
    shapes = item_shapes(need.encoder, names, need.view.size)
    width = PRECISIONS[options.precision].itemsize
    return {name: width * math.prod(shape) for name, shape in shapes.items()}


def _read(plan: Plan, options: Any) -> int:
    """Bytes of features that heads read in all epochs."""
    epochs = plan.epochs()
    if not epochs:
        return 0
    need = plan.needs["train"]
    sizes, items = _item_bytes(need, need.names, options), len(need.view.ids)
    room = free_memory() * devices.count()
    # Representations of one size are trained on together: all of them stay, or none.
    together: collections.Counter[int] = collections.Counter(sizes[name] for name in epochs)
    return sum(
        count * items * sizes[name]
        for name, count in epochs.items()
        if items * sizes[name] * together[sizes[name]] > room
    )


def _check_room(estimates: Sequence[Estimate], options: Any, mode: str) -> None:
    """Raises `JaxpartError` if features do not fit into the cache, naming options that would help."""
    each = [one.stored for one in estimates]
    needed = max(each, default=0) if mode == "off" else sum(each)  # freed after each task
    disk = open_cache("disk", options.folder)
    memory, free = memory_limit(), disk.free_bytes()
    room = free if mode == "disk" else memory
    if room is None or needed <= room:
        return
    largest = max(estimates, key=lambda one: one.stored)
    ways = [f"leave out {largest.what} ({size_text(largest.stored)})"]
    if options.precision == "float32" and needed / 2 <= room:
        ways.append(f"pass --config.features.precision=bfloat16 ({size_text(needed // 2)})")
    if mode == "disk":
        ways.append("name a larger disk with --config.features.folder=FOLDER")
    elif free is None or needed <= free:
        ways.append("pass --config.features.cache=disk")
    where = f"free in {disk.folder}" if mode == "disk" else "of memory"
    raise JaxpartError(
        f"the features of this run take {size_text(needed)}, more than the {size_text(room)} {where}; "
        f"{', or '.join(ways)}"
    )

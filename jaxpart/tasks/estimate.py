"""Estimates the cost of a run before it starts: images to encode, bytes of cache, and minutes."""

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

_MANY = 5_000 * 224**2
"""Runs that encode at least this many pixels announce their cost: a ViT-B takes 15 minutes on two cores."""

_PROBE = 8
"""Images per device to time an encoder on: a ViT-B takes a third of a second per image on a CPU."""

_READ = 1e9
"""Bytes read per second for features that do not fit in memory, see docs/performance.md."""


class Estimate(NamedTuple):
    """The cost of a plan, in addition to those before it.

    Attributes:
      what: Data set and task.
      items: Images or patches whose features it reads; without any, images of its splits.
      encoded: Images to encode, including those encoded while training and testing.
      stored: Bytes of features to store.
      read: Bytes that heads read over all epochs, of features that do not fit in memory.
    """

    what: str
    items: int
    encoded: Sequence[Pass]
    stored: int
    read: int

    @property
    def images(self) -> int:
        """Images to encode."""
        return sum(encoding.images for encoding in self.encoded)


def estimate(plans: Sequence[Plan], options: Any, progress: Progress) -> list[Estimate]:
    """The cost of each plan.

    Raises:
      JaxpartError: The features do not fit on the disk or in memory, wherever they are cached.
    """
    names = names_by_kind(plans)
    planned: dict[Hashable, set[str]] = collections.defaultdict(set)
    estimates = []
    for plan in plans:
        encoded, stored = list(plan.passes()), 0
        for need in plan.needs.values():
            representations = names[need.kind()]
            sizes = _item_bytes(need, representations, options)
            missing = absent_items(need.encoder, need.view, representations, options, progress)
            missing_items: set[str] = set()
            for name, (address, keys) in missing.items():
                new = keys - planned[address]
                planned[address] |= new
                missing_items |= new
                stored += len(new) * sizes[name]
            missing_names = tuple(name for name, (_, keys) in missing.items() if keys)
            encoded.append(Pass(need.encoder, need.view.size, missing_names, len(missing_items)))
        read_items = [need.view.ids for need in plan.needs.values()] or plan.sources
        items = sum(map(len, read_items))
        estimates.append(Estimate(plan.what, items, encoded, stored, _read(plan, options)))
    cacheable = all(need.encoder.digest for plan in plans for need in plan.needs.values())
    _check_room(estimates, options, options.cache if cacheable else "off")
    return estimates


def announce(plans: Sequence[Plan], options: Any, progress: Progress) -> None:
    """Announces the cost of plans if it is large; raises if features do not fit, see `estimate`."""
    estimates = estimate(plans, options, progress)
    encoded = [encoding for cost in estimates for encoding in cost.encoded]
    if sum(encoding.images * encoding.side**2 for encoding in encoded) >= _MANY:
        for line in lines(estimates):
            progress.say(line)


def lines(estimates: Iterable[Estimate]) -> list[str]:
    """A line for each plan and one for the total; every encoder is timed on a few images."""
    speeds: dict[Hashable, float] = {}
    text, total, bytes_ = [], 0.0, 0
    for cost in estimates:
        seconds = cost.read / _READ + encoding_seconds(cost.encoded, speeds)
        total, bytes_ = total + seconds, bytes_ + cost.stored
        text.append(
            f"{cost.what}: {cost.items:,} items, {cost.images:,} images to encode, "
            f"{size_text(cost.stored)} of features to store, about {duration(seconds)}"
        )
    return [
        *text,
        f"in total {size_text(bytes_)} and about {duration(total)}, estimated by timing encoders on a few "
        "images; training the heads takes extra time",
    ]


def encoding_seconds(encoded: Iterable[Pass], speeds: dict[Hashable, float]) -> float:
    """About how long it takes to encode images.

    Args:
      encoded: The images.
      speeds: Seconds per image of each encoder and side; those missing are measured on a few images.
    """
    seconds = 0.0
    for encoder, side, names, images in encoded:
        key = encoder.identity, side
        # A file of features encodes nothing.
        if images and key not in speeds and not isinstance(encoder, FeatureTable):
            batch = _PROBE * devices.count()
            speeds[key] = seconds_per_image(encoder, side, names, batch_size=batch)
        seconds += images * speeds.get(key, 0.0)
    return seconds


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
    # Representations of equal size train together: all of them stay in memory, or none.
    together: collections.Counter[int] = collections.Counter(sizes[name] for name in epochs)
    return sum(
        count * items * sizes[name]
        for name, count in epochs.items()
        if items * sizes[name] * together[sizes[name]] > room
    )


def _check_room(estimates: Sequence[Estimate], options: Any, mode: str) -> None:
    """Raises `JaxpartError` if features do not fit in the cache, naming options that would help."""
    stored = [cost.stored for cost in estimates]
    needed = max(stored, default=0) if mode == "off" else sum(stored)  # freed after each task
    disk = open_cache("disk", options.folder)
    memory, free = memory_limit(), disk.free_bytes()
    room = free if mode == "disk" else memory
    if room is None or needed <= room:
        return
    largest = max(estimates, key=lambda cost: cost.stored)
    remedies = [f"leave out {largest.what} ({size_text(largest.stored)})"]
    if options.precision == "float32" and needed / 2 <= room:
        remedies.append(f"pass --config.features.precision=bfloat16 ({size_text(needed // 2)})")
    if mode == "disk":
        remedies.append("name a larger disk with --config.features.folder=FOLDER")
    elif free is None or needed <= free:
        remedies.append("pass --config.features.cache=disk")
    where = f"free in {disk.folder}" if mode == "disk" else "of memory"
    raise JaxpartError(
        f"the features of this run take {size_text(needed)}, more than the {size_text(room)} {where}; "
        f"{', or '.join(remedies)}"
    )

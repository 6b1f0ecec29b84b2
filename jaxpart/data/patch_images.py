"""The pixels of part patches: every image is read and decoded once, however many patches it has."""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
import os
from collections.abc import Iterator, Sequence

from jaxpart.data.images import PATCH_TRANSFORMS, Pixels, decode
from jaxpart.data.parts import Patch
from jaxpart.data.source import Source
from jaxpart.errors import JaxpartError

_IMAGES_AHEAD = 4
"""Images in work per thread: enough to keep all busy, few enough to hold in memory."""


def read_patches(
    source: Source,
    patches: Sequence[Patch],
    *,
    size: int,
    transform: str = "eval",
    workers: int | None = None,
) -> Iterator[Pixels | JaxpartError]:
    """The pixels of each patch, in order, decoded by threads (Pillow works in parallel).

    Args:
      source: The data set that the patches were made of.
      patches: Patches of the same image next to each other, as `part_patches` lists them.
      size: Side of the result in pixels.
      transform: "eval" or "train", see `jaxpart.data.images`.
      workers: Threads; by default one per core.

    Yields:
      uint8 [size, size, 3], or the error for each patch of an image that cannot be read.
    """
    crop = PATCH_TRANSFORMS[transform]

    def read_image(group: list[Patch]) -> list[Pixels | JaxpartError]:
        try:
            image = decode(source[group[0].index].image, group[0].image)
        except JaxpartError as error:
            return [error] * len(group)
        return [crop(image, patch.box, size) for patch in group]

    workers = workers or os.cpu_count() or 1
    groups = (list(group) for _, group in itertools.groupby(patches, key=lambda p: p.index))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting: collections.deque = collections.deque()
        try:
            for group in groups:
                waiting.append(pool.submit(read_image, group))
                if len(waiting) >= workers * _IMAGES_AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

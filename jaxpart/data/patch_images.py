"""The pixels of part patches; each image is read and decoded once for all of its patches."""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar

from PIL import Image

from jaxpart.data.images import PATCH_TRANSFORMS, Pixels, decode
from jaxpart.data.parts import Patch
from jaxpart.data.source import Source
from jaxpart.errors import JaxpartError

_T = TypeVar("_T")
_Item = TypeVar("_Item")
_IMAGES_AHEAD = 4
"""Items in flight per thread; bounds the memory."""


def read_patches(
    source: Source,
    patches: Sequence[Patch],
    *,
    size: int = 224,
    transform: Literal["eval", "train"] = "eval",
    on_error: Literal["raise", "skip"] = "raise",
    workers: int | None = None,
) -> Iterator[tuple[int, Pixels | JaxpartError]]:
    """The pixels of each patch, in order, decoded by threads (Pillow releases the GIL).

    Args:
      source: The data set of the patches.
      patches: Patches, grouped by image as `part_patches` lists them; an image that reappears later is
        decoded again.
      size: Output side in pixels.
      transform: "eval" or "train", see `jaxpart.data.images`.
      on_error: For unreadable images: "raise", or "skip": yield the error in place of the pixels of each
        patch.
      workers: Threads; by default one per core.

    Returns:
      An iterator over (index into `patches`, uint8 [size, size, 3] or the error).

    Raises:
      JaxpartError: While iterating: an image cannot be read ("raise").
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    crop = PATCH_TRANSFORMS[transform]

    def attempt(make: Callable[..., _T], *args: Any) -> _T | JaxpartError:
        try:
            return make(*args)
        except JaxpartError as error:
            if on_error == "raise":
                raise
            return error

    def open_image(patch: Patch) -> Image.Image:
        record = source[patch.index]
        return decode(record.image, patch.image, record.annotation.size)

    def cut(image: Image.Image, patch: Patch) -> Pixels:
        left, top, right, bottom = (round(edge) for edge in patch.box)
        if right <= 0 or bottom <= 0 or left >= image.width or top >= image.height:
            raise JaxpartError(
                f"{patch.image} has a keypoint at ({patch.x:g}, {patch.y:g}), so far outside its "
                f"{image.width} × {image.height} pixels that the patch is empty; correct it"
            )
        return crop(image, patch.box, size)

    def read_image(group: list[Patch]) -> list[Pixels | JaxpartError]:
        image = attempt(open_image, group[0])
        if isinstance(image, JaxpartError):
            return [image] * len(group)
        return [attempt(cut, image, patch) for patch in group]

    groups = (list(group) for _, group in itertools.groupby(patches, key=lambda p: p.index))
    return enumerate(itertools.chain.from_iterable(in_order(read_image, groups, workers)))


def in_order(
    function: Callable[[_Item], _T], items: Iterable[_Item], workers: int | None = None
) -> Iterator[_T]:
    """Maps a function over items with threads, in order and a bounded number of items ahead.

    Args:
      function: Called in threads.
      items: Its arguments.
      workers: Threads; by default one per core.
    """
    workers = workers or os.cpu_count() or 1
    pending: collections.deque[concurrent.futures.Future[_T]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= workers * _IMAGES_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

"""The sliding-window test over a data set: windows batched across images, pixels counted in blocks.

The encoder always runs at one shape, [window batch, crop, crop, 3]. An image's predictions are computed in
blocks of rows; the compiled program depends on the number of windows and on the width rounded up (the
bucket), not on the height. Every process tests its own images and confusion matrices add up, so the result
does not depend on the number of processes. Within a process, windows of a batch and rows of a block are
sharded over its devices.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32, UInt8

from jaxpart import devices
from jaxpart.labels import IGNORE
from jaxpart.tasks.segmentation.windows import (
    axis_weights,
    count_rows,
    predict_rows,
    rows_per_block,
    side_by_side,
    spans,
    windows,
)

WindowLogits = Callable[
    [UInt8[Array, "window height width 3"], Int32[Array, "window 2"]],
    Float[Array, "heads window rows columns classes"],
]
"""A frozen encoder with its heads: from pixels of windows and their (height, width) without padding to
logits at feature resolution. Both are sharded over this process's devices."""


_COLUMNS = 128
"""Widths of predictions are rounded up to a multiple of this."""


class SlidingWindow(NamedTuple):
    """Options of windows and batches.

    Attributes:
      crop: Side of a window in pixels, a multiple of the patch size.
      stride: Pixels between windows, 1 … crop.
      batch: Windows per call of the encoder, rounded up to a multiple of this process's devices; the
        last batch is padded with empty windows.
    """

    crop: int
    stride: int
    batch: int


class LabelledImage(NamedTuple):
    """A test image, as the encoder sees it.

    Attributes:
      id: The file or record, for messages.
      image: The image, resized with its aspect ratio kept.
      label: 0 … classes − 1 or 255, at the original size, which is also the prediction's.
    """

    id: str
    image: UInt8[np.ndarray, "height width 3"]
    label: UInt8[np.ndarray, "rows columns"]


def evaluate(
    window_logits: WindowLogits, images: Iterable[LabelledImage], sliding: SlidingWindow
) -> Iterator[Int32[np.ndarray, "heads classes classes"]]:
    """Yields each image's confusion matrices, one per head: exact counts, which add up.

    `window_logits` is called with uint8 `[batch, crop, crop, 3]` and returns at most 255 classes.

    Raises:
      JaxpartError: An image is smaller than one patch.
    """
    counted: collections.deque[Array] = collections.deque()
    for image, source in _logits_by_image(window_logits, images, sliding):
        width = image.label.shape[1]
        blocks = []
        for rows, down, across in _row_blocks(image, source, sliding):
            part = np.full((len(down), len(across)), IGNORE, np.uint8)
            part[: rows.stop - rows.start, :width] = image.label[rows]
            blocks.append(count_rows(source, down, across, devices.shard(part, local=True)))
        counted.append(sum(blocks[1:], blocks[0]))
        if len(counted) > 1:  # an image late, so that the devices never wait
            yield np.asarray(counted.popleft())
    yield from map(np.asarray, counted)


def predict(
    window_logits: WindowLogits, images: Iterable[LabelledImage], sliding: SlidingWindow
) -> Iterator[tuple[LabelledImage, UInt8[np.ndarray, "heads rows columns"]]]:
    """The predicted class of every pixel at the original size, image by image, for every head.

    See `evaluate`; of labels, only the sizes matter.
    """
    for image, source in _logits_by_image(window_logits, images, sliding):
        result = np.empty((source.shape[0], *image.label.shape), np.uint8)
        for rows, down, across in _row_blocks(image, source, sliding):
            block = np.asarray(predict_rows(source, down, across))
            result[:, rows] = block[:, : rows.stop - rows.start, : result.shape[2]]
        yield image, result


class _Pending:
    """An image whose windows arrive batch by batch."""

    def __init__(self, image: LabelledImage, sliding: SlidingWindow):
        height, width = image.image.shape[:2]
        self.image = image
        self.down = len(spans(height, sliding.crop, sliding.stride))
        self.across = len(spans(width, sliding.crop, sliding.stride))
        self.missing = self.down * self.across
        self._logits: Float32[Array, "heads window rows columns classes"] | None = None

    def receive(
        self,
        logits: Float[Array, "heads window rows columns classes"],
        slots: list[tuple[int, int]],
    ) -> None:
        """Takes its windows from a batch; `slots` are (index of the window, index in the batch)."""
        slot_of = np.full(self.down * self.across, -1, np.int32)
        for window, slot in slots:
            slot_of[window] = slot
        self._logits = _insert(self._logits, logits, devices.replicate(slot_of, local=True))
        self.missing -= len(slots)

    def source(self) -> Float32[Array, "heads i j classes"]:
        """The logits of all its windows, in their grid."""
        assert self._logits is not None
        heads, _, *rest = self._logits.shape
        return side_by_side(self._logits.reshape(heads, self.down, self.across, *rest))


@functools.partial(jax.jit, donate_argnums=0)
def _insert(
    image: Float32[Array, "heads count rows columns classes"] | None,
    batch: Float[Array, "heads window rows columns classes"],
    slot_of: Int32[Array, " count"],
) -> Float32[Array, "heads count rows columns classes"]:
    """Updates an image's windows (0 at first) from a batch, where `slot_of` is not negative."""
    new = batch[:, jnp.maximum(slot_of, 0)].astype(jnp.float32)
    old = jnp.zeros_like(new) if image is None else image
    return jnp.where((slot_of >= 0)[None, :, None, None, None], new, old)


def _logits_by_image(
    window_logits: WindowLogits, images: Iterable[LabelledImage], sliding: SlidingWindow
) -> Iterator[tuple[LabelledImage, Float32[Array, "heads i j classes"]]]:
    """Yields the images in order, each with the logits of all its windows."""
    waiting: collections.deque[_Pending] = collections.deque()
    for pixels, sizes, slots in _window_batches(images, sliding, waiting):
        logits = window_logits(*devices.shard((pixels, sizes), local=True))
        logits = devices.replicate(logits, local=True)
        for item, windows_of_item in slots.items():
            item.receive(logits, windows_of_item)
        while waiting and not waiting[0].missing:
            item = waiting.popleft()
            yield item.image, item.source()


_Slots = dict[_Pending, list[tuple[int, int]]]


def _window_batches(
    images: Iterable[LabelledImage], sliding: SlidingWindow, waiting: collections.deque[_Pending]
) -> Iterator[
    tuple[UInt8[np.ndarray, "window height width 3"], Int32[np.ndarray, "window 2"], _Slots]
]:
    """Yields batches of windows, their sizes without padding, and the slots of each image's windows.

    Images are appended to `waiting` before their first window.
    """
    count = devices.round_up(sliding.batch, local=True)

    def new_batch() -> tuple[np.ndarray, np.ndarray, _Slots]:
        # New arrays, since the device may still read the old ones.
        pixels = np.zeros((count, sliding.crop, sliding.crop, 3), np.uint8)
        return pixels, np.zeros((count, 2), np.int32), collections.defaultdict(list)

    (pixels, sizes, slots), filled = new_batch(), 0
    for image in images:
        item = _Pending(image, sliding)
        waiting.append(item)
        cover = windows(image.image.shape[:2], sliding.crop, sliding.stride)
        for index, (top, bottom, left, right) in enumerate(cover):
            sizes[filled] = height, width = bottom - top, right - left
            pixels[filled, :height, :width] = image.image[top:bottom, left:right]
            slots[item].append((index, filled))
            filled += 1
            if filled == count:
                yield pixels, sizes, slots
                (pixels, sizes, slots), filled = new_batch(), 0
    if filled:
        yield pixels, sizes, slots


def _row_blocks(
    image: LabelledImage, source: Float32[Array, "heads i j classes"], sliding: SlidingWindow
) -> Iterator[tuple[slice, Float32[Array, "block i"], Float32[Array, "bucket j"]]]:
    """Yields blocks of rows of a prediction: the rows, and both weight matrices, padded with zeros.

    A block's rows are sharded over this process's devices.
    """
    crop, stride, _ = sliding
    axes = zip(image.image.shape[:2], image.label.shape, source.shape[1:3], strict=True)
    down, across = (
        axis_weights(size, target, crop, stride, merged // len(spans(size, crop, stride)))
        for size, target, merged in axes
    )
    height, width = image.label.shape
    bucket = -(-width // _COLUMNS) * _COLUMNS
    on_devices = devices.replicate(np.pad(across, ((0, bucket - width), (0, 0))), local=True)
    block = devices.round_up(rows_per_block(bucket, source.shape[-1]), local=True)
    for start in range(0, height, block):
        rows = slice(start, min(start + block, height))
        part = np.zeros((block, down.shape[1]), np.float32)
        part[: rows.stop - start] = down[rows]
        yield rows, devices.shard(part, local=True), on_devices

"""The sliding-window test over a data set: windows batched across images, pixels counted in blocks.

The encoder only ever sees one shape, [window batch, crop, crop, 3], whatever the images' sizes. An
image's predictions are made in blocks of rows whose compiled program depends on its number of
windows and on its width rounded up (the bucket), never on its height. Every process tests images of
its own and confusion matrices add up, so the result does not depend on how many there are. Within a
process its devices share the windows of a batch, and then the rows of a block.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, Int64, UInt8

from jaxpart import devices
from jaxpart.errors import JaxpartError
from jaxpart.labels import IGNORE, check_labels
from jaxpart.metrics.confusion import ConfusionCounter, image_counts
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
"""A frozen encoder with its heads: pixels of windows and the (height, width) that each fills (below
and to the right of it is padding) in, logits at feature resolution out. Both are cut over this
process's devices."""


@dataclasses.dataclass(frozen=True)
class SlidingWindow:
    """How images are cut and batched.

    Attributes:
      crop: (height, width) of a window, a multiple of the patch size.
      stride: (down, across), 1 … crop.
      batch: Windows per call of the encoder, rounded up to a multiple of this process's devices;
        the last call is filled up with empty windows.
      columns: Predictions are made at widths rounded up to a multiple of this.
    """

    crop: tuple[int, int]
    stride: tuple[int, int]
    batch: int = 8
    columns: int = 128


@dataclasses.dataclass(frozen=True)
class TestImage:
    """One image of the test, as the encoder sees it.

    Attributes:
      id: The file or record, for messages.
      image: Resized with its ratio kept.
      size: (height, width) of the original image, which the prediction has.
      label: 0 … classes − 1 or 255 at the original size; None where only predictions are wanted.
    """

    __test__ = False  # Not a class of tests, whatever pytest makes of its name.

    id: str
    image: UInt8[np.ndarray, "height width 3"]
    size: tuple[int, int]
    label: Int[np.ndarray, "rows columns"] | None = None


def evaluate(
    window_logits: WindowLogits,
    images: Iterable[TestImage],
    sliding: SlidingWindow,
    each: Callable[[Int32[Array, "heads 3 classes"]], None] = lambda counts: None,
) -> Int64[np.ndarray, "heads classes classes"]:
    """Confusion matrices over all images, one per head.

    Args:
      window_logits: Called with uint8 `[batch, *crop, 3]` only; returns at most 255 classes.
      images: With labels; read one after another, so a generator may load them.
      sliding: How images are cut and batched.
      each: Is told the `image_counts` of every image, in their order.

    Returns:
      As `segmentation_scores` takes them, exact; those of several processes add up.

    Raises:
      JaxpartError: If there is no image, an image has no label, its label has another size or
        holds values that are no class, or an image is smaller than one patch.
    """
    counter = None
    # Counting is not waited for, but for that of the image before: else all queued at once.
    last = None
    for image, source in _tested(window_logits, images, sliding):
        heads, _, _, classes = source.shape
        label = _checked_label(image, classes)
        counter = counter or ConfusionCounter(classes, heads=(heads,))
        matrices: Array | None = None
        pixels = 0
        for rows, down, across in _row_blocks(image, source, sliding):
            part = np.full((len(down), len(across)), IGNORE, np.uint8)
            part[: rows.stop - rows.start, : image.size[1]] = label[rows]
            found = count_rows(source, down, across, devices.shard(part, local=True))
            matrices = found if matrices is None else matrices + found
            pixels += part.size
        assert matrices is not None  # an image has rows
        counter.add(matrices, pixels)
        each(image_counts(matrices))
        jax.block_until_ready(last)
        last = matrices
    if counter is None:
        raise JaxpartError("There is no image to test on: check the split and the data root.")
    return counter.total()


def predict(
    window_logits: WindowLogits, images: Iterable[TestImage], sliding: SlidingWindow
) -> Iterator[tuple[TestImage, UInt8[np.ndarray, "heads rows columns"]]]:
    """The predicted class of every pixel at the original size, image by image, for every head.

    Args:
      window_logits: As in `evaluate`.
      images: Labels are not looked at.
      sliding: How images are cut and batched.

    Raises:
      JaxpartError: If an image is smaller than one patch.
    """
    for image, source in _tested(window_logits, images, sliding):
        result = np.empty((source.shape[0], *image.size), np.uint8)
        for rows, down, across in _row_blocks(image, source, sliding):
            block = np.asarray(predict_rows(source, down, across))
            result[:, rows] = block[:, : rows.stop - rows.start, : image.size[1]]
        yield image, result


class _Tested:
    """An image whose windows arrive batch by batch."""

    def __init__(self, image: TestImage, sliding: SlidingWindow):
        height, width = image.image.shape[:2]
        self.image = image
        self.down = len(spans(height, sliding.crop[0], sliding.stride[0]))
        self.across = len(spans(width, sliding.crop[1], sliding.stride[1]))
        self.missing = self.down * self.across
        self._logits: Float32[Array, "heads window rows columns classes"] | None = None

    def receive(
        self,
        logits: Float[Array, "heads window rows columns classes"],
        slots: list[tuple[int, int]],
    ) -> None:
        """Takes its windows from a batch: (number of the window, place in the batch) of each."""
        slot_of = np.full(self.down * self.across, -1, np.int32)
        for window, slot in slots:
            slot_of[window] = slot
        self._logits = _insert(self._logits, logits, devices.replicate(slot_of, local=True))
        self.missing -= len(slots)

    def source(self) -> Float32[Array, "heads i j classes"]:
        """All its windows, in their grid."""
        assert self._logits is not None
        heads, _, *rest = self._logits.shape
        return side_by_side(self._logits.reshape(heads, self.down, self.across, *rest))


@functools.partial(jax.jit, donate_argnums=0)
def _insert(
    image: Float32[Array, "heads count rows columns classes"] | None,
    batch: Float[Array, "heads window rows columns classes"],
    slot_of: Int32[Array, " count"],
) -> Float32[Array, "heads count rows columns classes"]:
    """An image's windows, those with a place in the batch (0 or more) taken from there; at first 0."""
    taken = batch[:, jnp.maximum(slot_of, 0)].astype(jnp.float32)
    before = jnp.zeros_like(taken) if image is None else image
    return jnp.where((slot_of >= 0)[None, :, None, None, None], taken, before)


def _tested(
    window_logits: WindowLogits, images: Iterable[TestImage], sliding: SlidingWindow
) -> Iterator[tuple[TestImage, Float32[Array, "heads i j classes"]]]:
    """The images in order, each with the logits of all its windows."""
    waiting: collections.deque[_Tested] = collections.deque()
    for pixels, sizes, slots in _window_batches(images, sliding, waiting):
        logits = window_logits(*devices.shard((pixels, sizes), local=True))
        logits = devices.replicate(logits, local=True)
        for item, places in slots.items():
            item.receive(logits, places)
        while waiting and not waiting[0].missing:
            item = waiting.popleft()
            yield item.image, item.source()


_Slots = dict[_Tested, list[tuple[int, int]]]


def _window_batches(
    images: Iterable[TestImage], sliding: SlidingWindow, waiting: collections.deque[_Tested]
) -> Iterator[
    tuple[UInt8[np.ndarray, "window height width 3"], Int32[np.ndarray, "window 2"], _Slots]
]:
    """Full batches of windows, how much of them is filled, and where each image's windows are.

    Images join `waiting` when their first window is cut.
    """
    count = devices.round_up(sliding.batch, local=True)

    def empty() -> tuple[np.ndarray, np.ndarray, _Slots]:
        # New arrays, not the old ones: the device may still read those.
        pixels = np.zeros((count, *sliding.crop, 3), np.uint8)
        return pixels, np.zeros((count, 2), np.int32), collections.defaultdict(list)

    (pixels, sizes, slots), filled = empty(), 0
    for image in images:
        item = _Tested(image, sliding)
        waiting.append(item)
        cover = windows(image.image.shape[:2], sliding.crop, sliding.stride)
        for index, (top, bottom, left, right) in enumerate(cover):
            sizes[filled] = height, width = bottom - top, right - left
            pixels[filled, :height, :width] = image.image[top:bottom, left:right]
            slots[item].append((index, filled))
            filled += 1
            if filled == count:
                yield pixels, sizes, slots
                (pixels, sizes, slots), filled = empty(), 0
    if filled:
        yield pixels, sizes, slots


def _row_blocks(
    image: TestImage, source: Float32[Array, "heads i j classes"], sliding: SlidingWindow
) -> Iterator[tuple[slice, Float32[Array, "block i"], Float32[Array, "bucket j"]]]:
    """Blocks of rows of a prediction: which they are, and both matrices, filled up with zeros.

    A block's rows are cut over this process's devices.
    """
    axes = zip(
        image.image.shape[:2],
        image.size,
        sliding.crop,
        sliding.stride,
        source.shape[1:3],
        strict=True,
    )
    down, across = (
        axis_weights(size, target, crop, stride, merged // len(spans(size, crop, stride)))
        for size, target, crop, stride, merged in axes
    )
    height, width = image.size
    bucket = -(-width // sliding.columns) * sliding.columns
    on_devices = devices.replicate(np.pad(across, ((0, bucket - width), (0, 0))), local=True)
    block = devices.round_up(rows_per_block(bucket, source.shape[-1]), local=True)
    for start in range(0, height, block):
        rows = slice(start, min(start + block, height))
        part = np.zeros((block, down.shape[1]), np.float32)
        part[: rows.stop - start] = down[rows]
        yield rows, devices.shard(part, local=True), on_devices


def _checked_label(image: TestImage, classes: int) -> Int[np.ndarray, "rows columns"]:
    """The label of an image, if it is there and right."""
    if image.label is None:
        raise JaxpartError(f"{image.id}: there is no label map to test against; add it.")
    check_labels(image.label, classes, where=image.id, size=image.size)
    return image.label

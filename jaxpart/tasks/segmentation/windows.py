"""Sliding windows: which windows cover an image, and how their logits become one prediction.

The published test (mmseg `EncoderDecoder.slide_inference`) upsamples the logits of every window to the
crop, averages overlapping windows and resizes the result to the original size. All of this is linear and,
since windows lie on a grid, separable: the logits of the original image are `down @ Z @ across.T`, where Z
has the windows' logits at feature resolution side by side, and `down` and `across` are small matrices that
depend only on the sizes. So full-size logits are computed a few rows at a time, just for the argmax.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, Int64, UInt8

from jaxpart.errors import JaxpartError
from jaxpart.metrics.confusion import confusion_matrix
from jaxpart.probes.upsampling import PRECISION, interpolation_weights

_BLOCK_ELEMENTS = 8_000_000
"""Full-size logits per block of rows: 32 MB."""


def spans(size: int, crop: int, stride: int) -> list[tuple[int, int]]:
    """The windows along one axis; the last one is shifted back to end at the border.

    An image smaller than the crop has one window, the whole image; the stride is 1 … crop.

    Returns:
      (start, stop) of each window, ascending; together they cover 0 … size.
    """
    count = max(size - crop + stride - 1, 0) // stride + 1
    stops = [min(index * stride + crop, size) for index in range(count)]
    return [(max(stop - crop, 0), stop) for stop in stops]


def windows(size: tuple[int, int], crop: int, stride: int) -> Int64[np.ndarray, "windows 4"]:
    """The windows of an image of (height, width) in row-major order, as in mmseg.

    Returns:
      (top, bottom, left, right) of each window, bottom and right exclusive.
    """
    rows, columns = (spans(side, crop, stride) for side in size)
    return np.asarray([(*row, *column) for row in rows for column in columns], np.int64)


@functools.lru_cache(maxsize=512)
def axis_weights(
    size: int, target: int, crop: int, stride: int, grid: int
) -> Float32[np.ndarray, "target windows*grid"]:
    """Upsampling to the crop, mean over windows and resizing to the target as one matrix per axis.

    A window clipped by an image smaller than the crop has fewer patches (an incomplete patch at the border
    is dropped, as in a convolution of that stride); the rest of its grid has weight zero.

    Args:
      size: Pixels of the image along the axis.
      target: Pixels of the prediction.
      crop: Pixels of a window.
      stride: Pixels between windows.
      grid: Logits of a window along the axis.

    Returns:
      A matrix whose rows sum to 1; read-only, since it is cached.

    Raises:
      JaxpartError: The image is smaller than one patch.
    """
    cover = spans(size, crop, stride)
    weights = np.zeros((size, len(cover), grid))
    for index, (start, stop) in enumerate(cover):
        used = (stop - start) * grid // crop
        if not used:
            raise JaxpartError(
                f"an image side of {size} pixels is smaller than one patch of {crop // grid}; remove "
                "the image or resize it"
            )
        weights[start:stop, index, :used] = interpolation_weights(used, stop - start)
    # The rows of every window sum to 1, so the sum is the number of windows that contain a pixel.
    weights /= weights.sum((1, 2), keepdims=True).round()
    resize = interpolation_weights(size, target).astype(np.float64)
    merged = (resize @ weights.reshape(size, -1)).astype(np.float32)
    merged.flags.writeable = False
    return merged


@jax.jit
def side_by_side(
    logits: Float32[Array, "heads down across height width classes"],
) -> Float32[Array, "heads down*height across*width classes"]:
    """Arranges an image's windows side by side, for `full_logits`."""
    heads, down, across, height, width, classes = logits.shape
    ordered = logits.transpose(0, 1, 3, 2, 4, 5)
    return ordered.reshape(heads, down * height, across * width, classes)


def full_logits(
    source: Float32[Array, "heads i j classes"],
    down: Float32[Array, "rows i"],
    across: Float32[Array, "columns j"],
) -> Float32[Array, "heads rows columns classes"]:
    """Logits of some rows of the prediction.

    The source is from `side_by_side`; down and across are `axis_weights` of these rows and of all
    columns.
    """
    narrow = jnp.einsum("ri,nijc->nrjc", down, source, precision=PRECISION)
    return jnp.einsum("xj,nrjc->nrxc", across, narrow, precision=PRECISION)


@jax.jit
def predict_rows(
    source: Float32[Array, "heads i j classes"],
    down: Float32[Array, "rows i"],
    across: Float32[Array, "columns j"],
) -> UInt8[Array, "heads rows columns"]:
    """The class with the largest logit (the first of ties) for every pixel of some rows.

    For the arguments see `full_logits`; at most 255 classes.
    """

    def predict(head):
        return full_logits(head[None], down, across)[0].argmax(-1).astype(jnp.uint8)

    return jax.lax.map(predict, source)


@jax.jit
def count_rows(
    source: Float32[Array, "heads i j classes"],
    down: Float32[Array, "rows i"],
    across: Float32[Array, "columns j"],
    label: UInt8[Array, "rows columns"],
) -> Int32[Array, "heads classes classes"]:
    """Confusion matrices of some rows; see `predict_rows` and `confusion_matrix`."""
    predictions = predict_rows(source, down, across)
    return jax.vmap(confusion_matrix, (0, None, None))(predictions, label, source.shape[-1])


def rows_per_block(columns: int, classes: int) -> int:
    """Number of rows of full-size logits to compute at once: a multiple of 8, at most 64."""
    return int(np.clip(_BLOCK_ELEMENTS // (columns * classes) // 8 * 8, 8, 64))

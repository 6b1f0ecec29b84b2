"""Cross entropy over every pixel of a label map, from logits at feature resolution.

The published code upsamples the logits to the label size and takes the mean cross entropy: at
512 × 512 with 209 classes and batch size 16 that is 3.5 GB per copy, and it takes several. Less will
do. Upsampling is a constant linear map U, so with u = U z the gradient is
dL/dz = Uᵀ (softmax(u) − onehot): a sum over pixels that lands at feature resolution. One pass over
blocks of rows computes the loss and this sum together; no block outlives its step, and the backward
pass only scales what the forward pass saved. (The 1×1 convolution commutes with U as well, so the
head itself never runs at more than feature resolution.)
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32

from jaxpart import devices
from jaxpart.labels import IGNORE
from jaxpart.probes.upsampling import PRECISION, interpolation_weights


def _block_elements() -> int:
    """Upsampled logits per step: 32 MB saturate an accelerator and cost little memory.

    A CPU makes several passes over them, so they should fit in its cache: 2 MB are three times as fast
    as 32 MB.
    """
    return 500_000 if devices.backend() == "cpu" else 8_000_000


class _RowBlocks(NamedTuple):
    """How blocks of label rows depend on logit rows: each on `span` rows from its `start`.

    Padding rows of the last block have zero weights.
    """

    start: Int32[np.ndarray, " blocks"]
    weights: Float32[np.ndarray, "blocks rows span"]


def pixel_cross_entropy(
    logits: Float[Array, "*heads batch height width classes"],
    labels: Int[Array, "batch rows columns"],
    *,
    block_rows: int | None = None,
) -> Float[Array, "*heads"]:
    """Mean cross entropy of bilinearly upsampled logits over ALL pixels, ignored ones counting as zero.

    Equal to upsampling (align_corners false), `cross_entropy(reduction="none", ignore_index=255)`
    and the mean over every pixel, up to summation order (mmseg `FCNHead` with
    `CrossEntropyLoss`). Differentiable once with respect to the logits. Works inside jit, under
    vmap, and with the batch sharded over devices.

    Args:
      logits: At feature resolution; leading axes hold independent heads over the same labels.
      labels: 0 … classes − 1, or 255 for ignored pixels. Any other value makes the loss NaN;
        `jaxpart.labels.check_labels` reports it on the host.
      block_rows: Label rows per step; by default as many as saturate the device. Memory grows with
        it, results agree up to rounding.

    Returns:
      One loss per head, float32; 0 with a zero gradient if every pixel is ignored.
    """
    *heads, batch, _, _, classes = logits.shape
    assert labels.ndim == 3, labels.shape
    assert labels.shape[0] == batch, (labels.shape, batch)
    if block_rows is None:
        per_row = int(np.prod(heads)) * labels.size // labels.shape[1] * classes
        block_rows = _block_elements() // per_row
    block_rows = min(max(block_rows, 1), labels.shape[1])
    flat = jnp.asarray(logits, jnp.float32).reshape(-1, *logits.shape[-4:])
    return _loss(flat, jnp.asarray(labels, jnp.int32), block_rows).reshape(heads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _loss(
    logits: Float32[Array, "heads batch height width classes"],
    labels: Int32[Array, "batch rows columns"],
    block_rows: int,
) -> Float32[Array, " heads"]:
    return _scan_rows(logits, labels, block_rows, gradient=False)[0]


def _forward(logits, labels, block_rows):
    return _scan_rows(logits, labels, block_rows, gradient=True)


def _backward(block_rows, gradient, cotangent):
    return cotangent[:, None, None, None, None] * gradient, None


_loss.defvjp(_forward, _backward)


def _scan_rows(
    logits: Float32[Array, "heads batch height width classes"],
    labels: Int32[Array, "batch rows columns"],
    block_rows: int,
    *,
    gradient: bool,
) -> tuple[Float32[Array, " heads"], Float32[Array, "heads batch height width classes"] | None]:
    """The losses, and their gradients if requested, in one pass over blocks of label rows."""
    heads, batch, height, width, _ = logits.shape
    _, rows, columns = labels.shape
    blocks = _row_blocks(height, rows, block_rows)
    count, _, span = blocks.weights.shape
    across = jnp.asarray(interpolation_weights(width, columns))
    labels = jnp.pad(
        labels, ((0, 0), (0, count * block_rows - rows), (0, 0)), constant_values=IGNORE
    )
    labels = labels.reshape(batch, count, block_rows, columns).swapaxes(0, 1)
    # Classes before pixels: sums over classes then run over whole vectors of pixels.
    source = logits.transpose(2, 0, 1, 4, 3)

    def step(carry, block):
        total, summed = carry
        start, down, label = block
        window = jax.lax.dynamic_slice_in_dim(source, start, span)
        narrow = jnp.einsum("rs,snbcw->nbcrw", down, window, precision=PRECISION)
        upsampled = jnp.einsum("nbcrw,xw->nbcrx", narrow, across, precision=PRECISION)
        loss, delta = _block_cross_entropy(upsampled, label)
        if gradient:
            narrow = jnp.einsum("nbcrx,xw->nbcrw", delta, across, precision=PRECISION)
            part = jnp.einsum("rs,nbcrw->snbcw", down, narrow, precision=PRECISION)
            part += jax.lax.dynamic_slice_in_dim(summed, start, span)
            summed = jax.lax.dynamic_update_slice_in_dim(summed, part, start, 0)
        return (total + loss, summed), None

    zero = (jnp.zeros(heads, jnp.float32), jnp.zeros_like(source) if gradient else None)
    (total, summed), _ = jax.lax.scan(step, zero, (blocks.start, blocks.weights, labels))
    pixels = batch * rows * columns
    if summed is not None:
        summed = summed.transpose(1, 2, 0, 4, 3) / pixels
    return total / pixels, summed


def _block_cross_entropy(
    logits: Float32[Array, "heads batch classes rows columns"],
    labels: Int32[Array, "batch rows columns"],
) -> tuple[Float32[Array, " heads"], Float32[Array, "heads batch classes rows columns"]]:
    """Summed cross entropy of a block of pixels and its gradient, softmax − onehot."""
    classes = logits.shape[2]
    valid = labels != IGNORE
    # An invalid label must not pass for "ignored": NaN stops a run, a silent zero does not.
    weight = jnp.where(valid, jnp.where((labels >= 0) & (labels < classes), 1.0, jnp.nan), 0.0)
    # A class 255 would be ignored everywhere else, so its pixels are never hot either.
    hot = valid[:, None] & (jnp.arange(classes)[None, :, None, None] == labels[:, None])
    largest = logits.max(2, keepdims=True)
    exponential = jnp.exp(logits - largest)
    summed = exponential.sum(2, keepdims=True)
    picked = jnp.where(hot, logits, 0).sum(2)
    loss = jnp.where(valid, jnp.log(summed[:, :, 0]) + largest[:, :, 0] - picked, 0) * weight
    delta = exponential * (weight[:, None] / summed) - hot
    return loss.sum((1, 2, 3)), delta


def _row_blocks(height: int, rows: int, block_rows: int) -> _RowBlocks:
    """Cuts the row weights into blocks, each with the few logit rows that it reads."""
    weights = interpolation_weights(height, rows)
    count = -(-rows // block_rows)
    weights = np.pad(weights, ((0, count * block_rows - rows), (0, 0)))
    weights = weights.reshape(count, block_rows, height)
    used = (weights != 0).any(1)
    first = used.argmax(1)
    last = height - 1 - used[:, ::-1].argmax(1)
    span = int((last - first).max()) + 1
    start = np.minimum(first, height - span)
    parts = [block[:, s : s + span] for block, s in zip(weights, start, strict=True)]
    return _RowBlocks(start.astype(np.int32), np.stack(parts))

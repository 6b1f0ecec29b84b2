"""Splits large batches into microbatches on a CPU, so that a block's activations stay in the caches."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
from einops import rearrange
from jaxtyping import Array, Float, Int

from jaxpart import devices
from jaxpart.encoders.architecture import ViTConfig

_BYTES_PER_CORE = 5 << 20
"""Limit for the hidden layer of a block's MLP, its largest array. Measured: docs/performance.md."""


def count_pieces(batch: int, config: ViTConfig, size: tuple[int, int], devices: int) -> int:
    """The number of equal microbatches that a batch is split into.

    Returns:
      The smallest number for which a microbatch fits, or the largest possible one.
    """
    rows, columns = config.grid_of(*size)
    tokens = len(config.prefix) + rows * columns
    image_bytes = tokens * config.mlp_width * 4
    limit = _BYTES_PER_CORE * (os.cpu_count() or 1)
    counts = [n for n in range(1, batch + 1) if batch % n == 0 and batch // n % devices == 0]
    return next((n for n in counts if batch // n * image_bytes <= limit), max(counts, default=1))


def in_microbatches(
    function: Callable[[Array, Array | None], Any],
    images: Float[Array, "batch height width 3"],
    order: Int[Array, "batch patch"] | None,
    *,
    config: ViTConfig,
) -> Any:
    """`function(images, order)`, in microbatches on a CPU.

    The function processes each image independently; for the order see `Encoder.__call__`.
    """
    count = 1
    # A program for `jax.export` may have a symbolic batch size.
    if devices.backend() == "cpu" and isinstance(images.shape[0], int):
        size = images.shape[1], images.shape[2]
        count = count_pieces(len(images), config, size, devices.count())
    if count == 1:
        return function(images, order)
    # Strided, so that a batch sharded over devices stays where it is.
    microbatches = jax.tree.map(
        lambda batch: rearrange(batch, "(b piece) ... -> piece b ...", piece=count), (images, order)
    )
    return jax.tree.map(
        lambda out: rearrange(out, "piece b ... -> (b piece) ..."),
        jax.lax.map(lambda microbatch: function(*microbatch), microbatches),
    )

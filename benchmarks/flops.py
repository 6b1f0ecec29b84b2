"""How many multiplications and additions an encoder makes: what shares of a machine's rate are taken of."""

from __future__ import annotations

from jaxpart.encoders.architecture import ViTConfig


def encoder_flops(config: ViTConfig, side: int = 0) -> float:
    """Of one image, a multiplication and its addition as two; matrix products only.

    Args:
      config: A plain ViT with patch stem, without a projector.
      side: Of a square image in pixels; 0: the size that the encoder was made for.
    """
    rows, columns = config.grid_of(side, side) if side else config.grid
    patches, width = rows * columns, config.width
    tokens = patches + len(config.prefix)
    stem = 2 * patches * 3 * config.patch_size**2 * width
    linear = 2 * tokens * width * (4 * width + 2 * config.mlp_width)  # qkv, out, fc1, fc2
    attention = 4 * tokens**2 * width  # q kᵀ, and weights v
    return stem + config.depth * (linear + attention)

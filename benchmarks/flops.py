"""An encoder's FLOP, from which fractions of a machine's rate are computed."""

from __future__ import annotations

from jaxpart.encoders.architecture import ViTConfig


def encoder_flops(config: ViTConfig, side: int = 0) -> float:
    """FLOP for one image, matrix products only; a multiply-add counts as two.

    Args:
      config: A plain ViT with a patch stem and no projector.
      side: Side of a square image in pixels; 0: the encoder's own image size.
    """
    rows, columns = config.grid_of(side, side) if side else config.grid
    patches, width = rows * columns, config.width
    tokens = patches + len(config.prefix)
    stem = 2 * patches * 3 * config.patch_size**2 * width
    linear = 2 * tokens * width * (4 * width + 2 * config.mlp_width)  # qkv, out, fc1, fc2
    attention = 4 * tokens**2 * width  # q kᵀ, and weights · v
    return stem + config.depth * (linear + attention)

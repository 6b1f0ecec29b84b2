"""The encoder as the objectives run it: patches masked or dropped, with stochastic depth."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import repeat
from jaxtyping import Array, Bool, Float, Int

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.vit import ViT
from jaxpart.pretraining.masks import take


class DropPath(NamedTuple):
    """Stochastic depth: the rate of the last block (0 at the first, linear between) and a key."""

    rate: float
    key: Array

    def branches(self, blocks: int, batch: int) -> Float[Array, "block 2 batch"] | None:
        """Per image, 0 for a dropped residual branch, else 1 over its keep probability."""
        if not self.rate:
            return None
        keep = 1 - jnp.linspace(0, self.rate, blocks)[:, None, None]
        return jax.random.bernoulli(self.key, keep, (blocks, 2, batch)) / keep


def encode(
    vit: ViT,
    images: Float[Array, "batch height width 3"],
    *,
    hidden: tuple[Bool[Array, "batch patch"], Float[Array, " width"]] | None = None,
    visible: Int[Array, "batch some"] | None = None,
    drop_path: DropPath | None = None,
) -> Float[Array, "batch token width"]:
    """Tokens after the final norm, the prefix first.

    Args:
      vit: The encoder.
      images: Normalised pixels.
      hidden: A mask, and the token that replaces the patches where it is True (BEiT, iBOT).
      visible: Indices of the patches that the encoder sees; the others are dropped (MAE, CAE).
      drop_path: Stochastic depth, while training.
    """
    if vit.config.stem == "conv":
        if hidden is not None:
            images = _blank_hidden(images, hidden[0], vit.config)
        if visible is not None:
            patches = jnp.arange(math.prod(vit.config.grid_of(*images.shape[1:3])))
            seen = (visible[:, :, None] == patches).any(axis=1)
            images = _blank_hidden(images, ~seen, vit.config)
    tokens, grid = vit.embed(images, hidden)
    if visible is not None:
        prefix = len(vit.config.prefix)
        seen = take(tokens[:, prefix:], visible)
        tokens = jnp.concatenate([tokens[:, :prefix], seen], axis=1)
    branches = None if drop_path is None else drop_path.branches(len(vit.blocks), len(images))
    last = vit.transform(tokens, grid, branches)[0][-1]
    return vit.norm(last) if vit.config.final_norm else last  # `finish` would run projectors too


def _blank_hidden(
    images: Float[Array, "batch height width 3"],
    hidden: Bool[Array, "batch patch"],
    config: ViTConfig,
) -> Float[Array, "batch height width 3"]:
    """Blanks hidden patches, which a convolutional stem would leak into their neighbours."""
    side = config.patch_size
    rows, columns = config.grid_of(*images.shape[1:3])
    mask = repeat(hidden, "b (r c) -> b (r p) (c q) 1", r=rows, c=columns, p=side, q=side)
    return jnp.where(mask, 0.0, images)

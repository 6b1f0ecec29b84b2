"""Patch embeddings: from pixels to one token per patch."""

from __future__ import annotations

import itertools
import math

import jax
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from jaxpart.encoders.architecture import ViTConfig


class PatchStem(nnx.Module):
    """One linear map per patch."""

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates the map."""
        self.patch_size = config.patch_size
        self.stride = config.stride or config.patch_size
        self.projection = nnx.Linear(
            3 * config.patch_size**2, config.width, use_bias=config.stem_bias, rngs=rngs
        )

    def __call__(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch patch channel"]:
        """Embeds the patches, row by row."""
        side, step = self.patch_size, self.stride
        if step == side:
            pixels = rearrange(images, "b (r p) (c q) rgb -> b (r c) (p q rgb)", p=side, q=side)
        else:
            tops, lefts = (np.arange(0, n - side + 1, step) for n in images.shape[1:3])
            rows, columns = (starts[:, None] + np.arange(side) for starts in (tops, lefts))
            overlapping = images[:, rows][:, :, :, columns]
            pixels = rearrange(overlapping, "b r p c q rgb -> b (r c) (p q rgb)")
        return self.projection(pixels)


class ConvStem(nnx.Module):
    """MoCo v3's `vit_conv_*` stem: stride-2 3×3 convolutions with BN + ReLU and a 1×1 convolution.

    The original has four, for patches of 16 pixels; other powers of two have more or fewer.
    """

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates the convolutions: …, width/4, width/2 and width channels."""
        halvings = range(int(math.log2(config.patch_size)))
        channels = [3] + [config.width // 2**power for power in reversed(halvings)]
        self.convolutions = nnx.List(
            nnx.Conv(i, o, (3, 3), strides=2, padding=1, use_bias=False, rngs=rngs)
            for i, o in itertools.pairwise(channels)
        )
        self.norms = nnx.List(
            nnx.BatchNorm(c, use_running_average=True, momentum=0.9, epsilon=1e-5, rngs=rngs)
            for c in channels[1:]
        )
        self.projection = nnx.Conv(config.width, config.width, (1, 1), rngs=rngs)

    def __call__(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch patch channel"]:
        """Embeds the patches, row by row."""
        hidden = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = jax.nn.relu(norm(convolution(hidden)))
        return rearrange(self.projection(hidden), "b r c d -> b (r c) d")

"""PyTorch's bilinear resize with the result held in full, which the package avoids."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpart.probes.upsampling import PRECISION, interpolation_weights


def upsample(
    maps: Float[Array, "*batch height width channels"], size: tuple[int, int]
) -> Float[Array, "*batch rows columns channels"]:
    """Resizes as `F.interpolate(..., size, mode="bilinear", align_corners=False)` does, in float32."""
    rows = interpolation_weights(maps.shape[-3], size[0])
    columns = interpolation_weights(maps.shape[-2], size[1])
    maps = jnp.asarray(maps, jnp.float32)
    maps = jnp.einsum("yh,...hwc->...ywc", rows, maps, precision=PRECISION)
    return jnp.einsum("xw,...ywc->...yxc", columns, maps, precision=PRECISION)

"""Replaces a wide projection by a narrow one with the same inner products, and so the same cosines.

The projectors of DINO and iBOT end in a linear layer of 256 to 65536 or 8192 channels, y = x W + b. For
two images y · y' = (x, 1) G (x', 1)ᵀ, where G is the Gram matrix of the rows of W and b. With its
symmetric root, R R = G, that is the product of (x, 1) R and (x', 1) R: 256 channels, plus one for a bias,
contain everything that retrieval needs of 65536. The root of a positive semidefinite matrix is unique
at any rank, so features from several machines are consistent; a Cholesky factor would need full rank.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from jaxpart import devices
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.encoders.vit import abstract_vit
from jaxpart.encoders.weights import variables_of

_BN_EPSILON = 1e-5
"""Epsilon of the projectors' BatchNorm, which a variance of 1 − epsilon turns into the identity."""


def narrowed(encoder: FrozenEncoder) -> FrozenEncoder:
    """The encoder with a "projection" as wide as its last layer's input, plus one channel for a bias.

    Inner products, norms and cosines of projections equal the original's up to float32 rounding. Other
    outputs are unchanged, except that iBOT's "patch_projection" is dropped. The root is computed in
    float64.

    Args:
      encoder: Any encoder. It is returned unchanged if it is not a ViT, if its projector does not end in
        a linear layer with more outputs than inputs, or if a predictor needs these outputs.
    """
    if not isinstance(encoder, Encoder):
        return encoder
    config = encoder.config.projector
    if config is None or config.predictor:
        return encoder
    layer = _last_layer(config)
    if layer is None:
        return encoder
    arrays = variables_of(nnx.state(encoder.vit))
    kernel = arrays[f"{layer}.kernel"][...]
    norm = layer.replace("layers", "norms") if config.kind == "mlp_bn" else None
    biased = norm is not None or f"{layer}.bias" in arrays
    channels = kernel.shape[0] + biased
    if kernel.shape[1] <= channels:
        return encoder
    narrow: dict[str, np.ndarray] = {}
    weights = np.asarray(kernel, np.float64)
    if norm is not None:
        scale = (np.asarray(arrays[f"{norm}.var"][...], np.float64) + _BN_EPSILON) ** -0.5
        bias = -np.asarray(arrays[f"{norm}.mean"][...], np.float64) * scale
        root = _root(np.vstack([weights * scale, bias]))
        narrow[f"{norm}.mean"] = -root[-1]
        narrow[f"{norm}.var"] = np.full(channels, 1 - _BN_EPSILON)
    elif biased:
        bias = np.asarray(arrays[f"{layer}.bias"][...], np.float64)
        root = _root(np.vstack([weights, bias]))
        narrow[f"{layer}.bias"] = root[-1]
    else:
        root = _root(weights)
    narrow[f"{layer}.kernel"] = root[: len(weights)]
    projector = dataclasses.replace(config, out=channels, patch_out=0)
    architecture = dataclasses.replace(encoder.config, projector=projector)
    graph, state = nnx.split(abstract_vit(architecture))
    for name, leaf in variables_of(state).items():
        weight = arrays[name][...]
        if name in narrow:
            new = narrow[name].astype(np.float32)
            weight = devices.put_like(new, weight) if isinstance(weight, jax.Array) else new
        leaf.set_value(weight)
    return dataclasses.replace(encoder, vit=nnx.merge(graph, state))


def _last_layer(config: ProjectorConfig) -> str | None:
    """Path of the linear layer at the end of a projector, or None."""
    if config.kind == "bottleneck":
        return "projector.head.last"
    if config.kind == "mlp_bn":
        return f"projector.mlp.layers.{len(config.hidden)}"
    if config.kind == "classifier" and config.heads == 1:
        return "projector.heads.0"
    return None


def _root(rows: Float[np.ndarray, "row channel"]) -> Float[np.ndarray, "row row"]:
    """The symmetric root of the Gram matrix of rows, of any rank."""
    values, vectors = np.linalg.eigh(rows @ rows.T)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

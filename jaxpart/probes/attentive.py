"""The attentive probe: one learnable query attends to all tokens, then BatchNorm and a linear layer.

With a single query, the tokens' keys and values are never materialised. Head h scores a token x by
qₕ · Kₕ(g ⊙ x̂ + b), where x̂ is x at mean 0 and variance 1; that is x̂ · (g ⊙ Kₕᵀ qₕ) plus a term that is
the same for all tokens and cancels in the softmax (so the gradient of b is zero, as in the published
runs). Likewise, x̂ is averaged first and projected once. The function equals the published one up to
rounding; its cost falls from two width × width products per token to two heads × width ones, 64 times
less at ViT-B, and all heads of a sweep read the tokens together.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxpart.errors import JaxpartError
from jaxpart.probes.normalization import BatchNorm

_LAYER_NORM_EPSILON = 1e-6
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def check_width(width: int, num_heads: int) -> None:
    """Raises `JaxpartError` if tokens of a width do not split into `num_heads` heads."""
    if num_heads < 1 or width % num_heads:
        raise JaxpartError(
            f"tokens of width {width} do not split into {num_heads} attention heads; choose a divisor "
            f"of the width as the attentive probe's num_heads"
        )


class _Affine(nnx.Module):
    """A LayerNorm's parameters: scale and bias, [channels]."""

    def __init__(self, channels: int) -> None:
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, standardized: Float[Array, "*batch channel"]) -> Array:
        return self.scale[...] * standardized + self.bias[...]


class AttentiveHead(nnx.Module):
    """The published attentive probe (docs/protocol.md, "Part classification").

    No residual and no MLP. The published module also owns a LayerNorm that its forward pass never
    uses; it is omitted.

    Attributes:
      query: The learnable query, [width].
      norm_q: LayerNorm parameters of the query; norm_k, norm_v: of the tokens as keys and values.
      q: [width, width], input channels first, with bias `q_bias`; v likewise; k has no bias.
      out: [width, width] with bias `out_bias`.
      norm: BatchNorm without parameters.
      kernel: [width, classes], normal with standard deviation 0.01; bias: [classes], zero.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        *,
        num_heads: int = 12,
        initial: str = "truncated",
        rngs: nnx.Rngs,
    ) -> None:
        """Makes a fresh head.

        Args:
          width: Channels of a token.
          classes: Number of classes.
          num_heads: Heads of the cross attention.
          initial: "truncated": the query and the kernels q, k, v and out are drawn from a normal with
            standard deviation 0.02 truncated at ±0.02 (part classification); "cae": the query is 0 and
            the kernels come from the untruncated normal (CAE's ImageNet recipe).
          rngs: Source of the initial parameters.

        Raises:
          JaxpartError: The width does not split into the heads.
        """
        check_width(width, num_heads)

        def kernel(*shape: int) -> nnx.Param:
            key = rngs.params()
            if initial == "truncated":
                return nnx.Param(0.02 * jax.random.truncated_normal(key, -1, 1, shape))
            return nnx.Param(0.02 * jax.random.normal(key, shape))

        self.num_heads = num_heads
        self.query = nnx.Param(jnp.zeros(width)) if initial == "cae" else kernel(width)
        self.norm_q, self.norm_k, self.norm_v = _Affine(width), _Affine(width), _Affine(width)
        self.q, self.k, self.v = (kernel(width, width) for _ in range(3))
        self.q_bias, self.v_bias = nnx.Param(jnp.zeros(width)), nnx.Param(jnp.zeros(width))
        self.out, self.out_bias = kernel(width, width), nnx.Param(jnp.zeros(width))
        self.norm = BatchNorm(width)
        self.kernel = nnx.Param(0.01 * jax.random.normal(rngs.params(), (width, classes)))
        self.bias = nnx.Param(jnp.zeros(classes))

    def __call__(
        self,
        tokens: Float[Array, "batch token width"],
        *,
        statistics: str,
        valid: Bool[Array, " batch"] | None = None,
    ) -> Float[Array, "batch class"]:
        """Logits."""
        pooled = self.norm(self.attend(tokens), statistics=statistics, valid=valid)
        return _einsum("bi,ic->bc", pooled, self.kernel[...]) + self.bias[...]

    def attend(self, tokens: Float[Array, "batch token width"]) -> Float[Array, "batch width"]:
        """The output of the cross attention."""
        standardized = _standardize(tokens)
        width = tokens.shape[-1]
        split = (self.num_heads, width // self.num_heads)
        query = self.norm_q(_standardize(self.query[...]))
        query = _einsum("i,io->o", query, self.q[...]) + self.q_bias[...]
        query = query.reshape(split) * split[1] ** -0.5
        keys = _einsum("ihd,hd->hi", self.k[...].reshape(width, *split), query)
        keys = keys * self.norm_k.scale[...]
        weights = jax.nn.softmax(_einsum("bti,hi->bht", standardized, keys), axis=-1)
        means = self.norm_v(_einsum("bht,bti->bhi", weights, standardized))
        values = _einsum("bhi,ihd->bhd", means, self.v[...].reshape(width, *split))
        attended = values.reshape(-1, width) + self.v_bias[...]
        return _einsum("bi,io->bo", attended, self.out[...]) + self.out_bias[...]


def _standardize(inputs: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
    """LayerNorm without parameters."""
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + _LAYER_NORM_EPSILON)

"""Heads on top of encoders: contrastive projectors, MoCo v3's predictor, and classifiers."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from jaxpart.encoders.layers import Activation, activation, make_norm


@dataclasses.dataclass(frozen=True)
class ProjectorConfig:
    """Shape of a projector.

    Attributes:
      kind: "mlp_bn" (MoCo v3: linear + BN + ReLU, last BN without affine), "bottleneck" (DINO, iBOT:
        MLP with GELU, l2-normalised bottleneck, last layer without bias), "classifier" (a linear layer
        per prefix token, averaged: DeiT; on the pooled token: fine-tuned BEiT; CLIP's projection) or
        "attention_pool" (SigLIP: a trained query attends to the patches, an MLP follows).
      hidden: Hidden channels of each hidden layer ("attention_pool": of its MLP).
      bottleneck: Channels before the last layer ("bottleneck" only).
      out: Output channels.
      patch_out: Output channels of a separate last layer for patches (iBOT); 0 for none.
      heads: Number of linear layers of a "classifier" (distilled DeiT: 2).
      predictor: Hidden channels of MoCo v3's predictor; 0 for none.
      bias: Whether a "classifier" has biases (not in CLIP).
      num_heads: Attention heads of an "attention_pool".
      activation: Activation of an "attention_pool"'s MLP.
    """

    kind: Literal["mlp_bn", "bottleneck", "classifier", "attention_pool"]
    out: int
    hidden: tuple[int, ...] = ()
    bottleneck: int = 0
    patch_out: int = 0
    heads: int = 1
    predictor: int = 0
    bias: bool = True
    num_heads: int = 1
    activation: Activation = "gelu"


def _batch_norm(width: int, affine: bool, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(
        width,
        use_running_average=True,
        momentum=0.9,
        epsilon=1e-5,
        use_bias=affine,
        use_scale=affine,
        use_fast_variance=False,
        rngs=rngs,
    )


class MlpBatchNorm(nnx.Module):
    """MoCo v3's MLP (`builder.py`, `_build_mlp`): no linear biases, BN after each layer."""

    def __init__(self, widths: Sequence[int], *, rngs: nnx.Rngs) -> None:
        """Creates layers of the given widths, input first; the last BN has no affine parameters."""
        pairs = list(itertools.pairwise(widths))
        self.layers = nnx.List(nnx.Linear(i, o, use_bias=False, rngs=rngs) for i, o in pairs)
        last = len(pairs) - 1
        self.norms = nnx.List(
            _batch_norm(o, affine=i != last, rngs=rngs) for i, (_, o) in enumerate(pairs)
        )

    def __call__(self, hidden: Float[Array, "batch channel"]) -> Float[Array, "batch out"]:
        """Applies the layers; ReLU between them."""
        return self.outputs(hidden)[-1]

    def outputs(self, hidden: Float[Array, "batch channel"]) -> tuple[Float[Array, "batch _"], ...]:
        """Output of each layer, after BN and ReLU (the last layer has no ReLU)."""
        last = len(self.layers) - 1
        outputs = []
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            hidden = norm(layer(hidden))
            if i != last:
                hidden = jax.nn.relu(hidden)
            outputs.append(hidden)
        return tuple(outputs)


class Bottleneck(nnx.Module):
    """The head of DINO (`DINOHead`) and iBOT (`iBOTHead`).

    The last layers hold the weight itself: weight norm, g · v / ‖v‖, is resolved on conversion.
    """

    def __init__(self, width: int, config: ProjectorConfig, *, rngs: nnx.Rngs) -> None:
        """Creates the MLP and the last layers."""
        widths = [width, *config.hidden, config.bottleneck]
        self.layers = nnx.List(nnx.Linear(i, o, rngs=rngs) for i, o in itertools.pairwise(widths))
        self.last = nnx.Linear(config.bottleneck, config.out, use_bias=False, rngs=rngs)
        self.has_patch_layer = config.patch_out > 0
        if self.has_patch_layer:
            self.patch_last = nnx.Linear(
                config.bottleneck, config.patch_out, use_bias=False, rngs=rngs
            )

    def bottleneck(self, hidden: Float[Array, "*batch channel"]) -> Float[Array, "*batch channel"]:
        """The l2-normalised output of the MLP."""
        return self.mlp_outputs(hidden)[-1]

    def mlp_outputs(
        self, hidden: Float[Array, "*batch channel"]
    ) -> tuple[Float[Array, "*batch _"], ...]:
        """Output of each layer of the MLP, after GELU; the last one l2-normalised."""
        *layers, last = self.layers
        outputs = []
        for layer in layers:
            hidden = activation("gelu")(layer(hidden))
            outputs.append(hidden)
        hidden = last(hidden)
        norm = jnp.linalg.norm(hidden, axis=-1, keepdims=True)
        return (*outputs, hidden / jnp.maximum(norm, 1e-12))  # as F.normalize

    def outputs(self, cls: Float[Array, "batch width"]) -> tuple[Float[Array, "batch _"], ...]:
        """Outputs of the MLP for the cls token, and of the last layer."""
        outputs = self.mlp_outputs(cls)
        return (*outputs, self.last(outputs[-1]))

    def __call__(
        self, cls: Float[Array, "batch width"], patches: Float[Array, "batch patch width"]
    ) -> dict[str, Array]:
        """Projection of the cls token and, in iBOT, of every patch."""
        out = {"projection": self.last(self.bottleneck(cls))}
        if self.has_patch_layer:
            out["patch_projection"] = self.patch_last(self.bottleneck(patches))
        return out


class AttentionPool(nnx.Module):
    """SigLIP's head (`big_vision/models/vit.py`, `MAPHead`): attention of one query, then an MLP."""

    def __init__(
        self, width: int, config: ProjectorConfig, epsilon: float, *, rngs: nnx.Rngs
    ) -> None:
        """Creates the query, the attention and the MLP, whose norm has the epsilon of the encoder's."""
        self.num_heads, self.activation = config.num_heads, config.activation
        self.dot_general, self.precision = jax.lax.dot_general, None  # as in `Attention`
        self.probe = nnx.Param(0.02 * jax.random.normal(rngs.params(), (1, width)))
        self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)
        self.norm = make_norm("layer", width, epsilon, rngs)
        self.fc1 = nnx.Linear(width, config.hidden[0], rngs=rngs)
        self.fc2 = nnx.Linear(config.hidden[0], config.out, rngs=rngs)

    def __call__(self, patches: Float[Array, "batch patch width"]) -> Float[Array, "batch out"]:
        """Pools the patches of each image."""
        width = patches.shape[-1]
        query = self.qkv(self.probe[...])[0, :width]
        query = rearrange(query, "(h d) -> h d", h=self.num_heads)
        keys, values = rearrange(
            self.qkv(patches)[..., width:], "b t (two h d) -> two b h t d", two=2, h=self.num_heads
        )
        query = query * query.shape[-1] ** -0.5
        multiply = functools.partial(self.dot_general, precision=self.precision)
        logits = multiply(query, keys, (((1,), (3,)), ((0,), (1,))))  # head, batch, key
        weights = jax.nn.softmax(logits, axis=-1)
        pooled = multiply(weights, values, (((2,), (2,)), ((1, 0), (0, 1))))
        pooled = self.out(rearrange(pooled, "b h d -> b (h d)"))
        return pooled + self.fc2(activation(self.activation)(self.fc1(self.norm(pooled))))


class Projector(nnx.Module):
    """The projector or classifier named by its configuration."""

    def __init__(
        self, width: int, config: ProjectorConfig, epsilon: float, *, rngs: nnx.Rngs
    ) -> None:
        """Creates the layers; `epsilon` is added to the variance of an attention pool's norm."""
        self.kind = config.kind
        if config.kind == "mlp_bn":
            self.mlp = MlpBatchNorm([width, *config.hidden, config.out], rngs=rngs)
        elif config.kind == "bottleneck":
            self.head = Bottleneck(width, config, rngs=rngs)
        elif config.kind == "attention_pool":
            self.pool = AttentionPool(width, config, epsilon, rngs=rngs)
        else:
            self.heads = nnx.List(
                nnx.Linear(width, config.out, use_bias=config.bias, rngs=rngs)
                for _ in range(config.heads)
            )

    def __call__(
        self,
        tokens: Sequence[Float[Array, "batch width"]],
        patches: Float[Array, "batch patch width"],
    ) -> dict[str, Array]:
        """Projects an image's tokens.

        Args:
          tokens: The prefix tokens, cls first, or the pooled token alone.
          patches: The patch tokens.

        Returns:
          "projection" [batch, out], and "patch_projection" [batch, patch, patch_out] for iBOT.
        """
        if self.kind == "mlp_bn":
            return {"projection": self.mlp(tokens[0])}
        if self.kind == "bottleneck":
            return self.head(tokens[0], patches)
        if self.kind == "attention_pool":
            return {"projection": self.pool(patches)}
        logits = [head(token) for head, token in zip(self.heads, tokens, strict=True)]
        return {"projection": sum(logits[1:], logits[0]) / len(logits)}

    def outputs(self, cls: Float[Array, "batch width"]) -> tuple[Float[Array, "batch _"], ...]:
        """Output of each layer for the cls token, the last being "projection".

        This is what the next layer sees: MoCo v3's after BN and ReLU, DINO's and iBOT's after GELU, their
        bottleneck l2-normalised. Classifiers and pooling heads have none.
        """
        if self.kind == "mlp_bn":
            return self.mlp.outputs(cls)
        return self.head.outputs(cls) if self.kind == "bottleneck" else ()


class Predictor(nnx.Module):
    """MoCo v3's predictor: a two-layer MLP with BN on top of the projector."""

    def __init__(self, config: ProjectorConfig, *, rngs: nnx.Rngs) -> None:
        """Creates the layers."""
        self.mlp = MlpBatchNorm([config.out, config.predictor, config.out], rngs=rngs)

    def __call__(self, projection: Float[Array, "batch out"]) -> Float[Array, "batch out"]:
        """Predicts the other view's projection."""
        return self.mlp(projection)

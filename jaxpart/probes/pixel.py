"""The linear segmentation probe: a 1×1 convolution on the maps of a few frozen blocks.

The paper reads blocks 4, 6, 8 and 12. Any number of heads, each on its own blocks, train on the same
features in one pass: the paper's head beside a head on every single block shows where in the network
parts are encoded. Their losses are summed and share no parameters, and AdamW is elementwise, so every
head takes exactly the steps it would take alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxpart.errors import JaxpartError
from jaxpart.labels import IGNORE
from jaxpart.probes.pixel_loss import pixel_cross_entropy
from jaxpart.probes.upsampling import PRECISION

FeatureMap = Float[Array, "batch height width channels"]


def paper_blocks(depth: int) -> tuple[int, ...]:
    """The blocks that the paper reads, as indices into `encoder(images, blocks=True)["blocks"]`.

    Of 12 blocks the 4th, 6th, 8th and 12th; of any other number those at the same relative depth,
    rounded up, without duplicates.
    """
    return tuple(sorted({-(-depth * block // 12) - 1 for block in (4, 6, 8, 12)}))


def patch_map(tokens: Float[Array, "batch token width"], grid: tuple[int, int]) -> FeatureMap:
    """The patch tokens as an image: prefix tokens (cls, dist) dropped, rows first.

    The tokens are the output of one block before the final norm; the grid is (height, width).
    """
    batch, count, width = tokens.shape
    patches = grid[0] * grid[1]
    return tokens[:, count - patches :].reshape(batch, *grid, width)


class PixelHead(nnx.Module):
    """One 1×1 convolution on the concatenation of feature maps (mmseg `FCNHead`, no other layer).

    Attributes:
      kernel: [channels of all maps together, classes], normal with standard deviation 0.01.
      bias: [classes], zero.
    """

    def __init__(self, channels: int, classes: int, *, rngs: nnx.Rngs):
        """Makes a fresh head.

        The channels are those of all maps together; there are 1 … 255 classes, since label 255 means
        ignored.

        Raises:
          JaxpartError: If the number of classes is out of range.
        """
        if not 1 <= classes <= IGNORE:
            raise JaxpartError(
                f"a pixel head of {classes} classes cannot be trained; 1 to {IGNORE} classes fit "
                f"beside the label {IGNORE} of ignored pixels"
            )
        initial = 0.01 * jax.random.normal(rngs.params(), (channels, classes))
        self.kernel = nnx.Param(initial)
        self.bias = nnx.Param(jnp.zeros(classes))

    def __call__(self, maps: Sequence[FeatureMap]) -> Float[Array, "batch height width classes"]:
        """Logits at feature resolution.

        The concatenation is never materialised: the product with it is the sum of the products with its
        parts.
        """
        widths = [features.shape[-1] for features in maps]
        assert sum(widths) == len(self.kernel[...]), (widths, self.kernel[...].shape)
        offsets = [sum(widths[:index]) for index in range(1, len(widths))]
        parts = jnp.split(self.kernel[...], offsets)
        products = [
            jnp.matmul(features, part, precision=PRECISION)
            for features, part in zip(maps, parts, strict=True)
        ]
        return sum(products[1:], products[0]) + self.bias[...]


class PixelHeads(nnx.Module):
    """Named heads on the same blocks, run and trained together.

    Attributes:
      readouts: The blocks that each head reads, by the head's name.
      heads: One `PixelHead` per readout, in that order.
    """

    def __init__(
        self,
        readouts: Mapping[str, Sequence[int]],
        width: int | Sequence[int],
        classes: int,
        *,
        rngs: nnx.Rngs,
    ):
        """Makes fresh heads.

        Args:
          readouts: Indices of the blocks that each head reads, by the head's name:
            `{"paper": paper_blocks(12), "block0": (0,), …}`.
          width: Channels of a block, or of each.
          classes: 1 … 255.
          rngs: Source of the initial kernels.

        Raises:
          JaxpartError: If the number of classes is out of range.
        """
        self.readouts = {name: tuple(blocks) for name, blocks in readouts.items()}
        channels = [
            width * len(blocks) if isinstance(width, int) else sum(width[block] for block in blocks)
            for blocks in readouts.values()
        ]
        self.heads = nnx.List(PixelHead(count, classes, rngs=rngs) for count in channels)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Indices of all blocks that some head reads, ascending."""
        return tuple(sorted({index for indices in self.readouts.values() for index in indices}))

    def __call__(
        self, blocks: Sequence[FeatureMap] | Mapping[int, FeatureMap]
    ) -> Float[Array, "heads batch height width classes"]:
        """Logits of every head at feature resolution."""
        read = zip(self.readouts.values(), self.heads, strict=True)
        return jnp.stack([head([blocks[index] for index in indices]) for indices, head in read])


_FIRST_SHARE = 1e-6
"""Share of the rate at iteration 0 of the warm-up."""


def learning_rate(iterations: int, *, peak: float = 4e-4, warmup: int = 1500) -> optax.Schedule:
    """Polynomial decay of power 1 to 0 over ALL iterations, times a linear warm-up.

    mmcv's `PolyLrUpdaterHook` with `warmup="linear"`: at iteration t the rate is
    peak · (1 − t / iterations), and before `warmup` that times
    1 − (1 − t / warmup) · (1 − 1e-6).

    Args:
      iterations: Where the rate reaches 0; 160 000 in the paper.
      peak: The rate that the decay starts from.
      warmup: Length of the warm-up in iterations; 0 for none.

    Returns:
      A function of the iteration, counted from 0.
    """

    def rate(step):
        # The formulas above, rearranged: in float32, subtracting from 1 would cost the first and
        # the last steps most of their digits.
        decay = jnp.maximum(iterations - step, 0) / iterations
        progress = jnp.minimum(step / warmup, 1) if warmup else 1
        return peak * decay * (_FIRST_SHARE + progress * (1 - _FIRST_SHARE))

    return rate


def optimizer(
    schedule: optax.Schedule, *, weight_decay: float = 0.05, decay_bias: bool = True
) -> optax.GradientTransformation:
    """The paper's AdamW, betas (0.9, 0.999), with decoupled decay."""

    def decayed(parameters: nnx.State) -> nnx.State:
        return jax.tree.map(lambda parameter: decay_bias or parameter.ndim > 1, parameters)

    return optax.adamw(
        schedule, b1=0.9, b2=0.999, eps=1e-8, weight_decay=weight_decay, mask=decayed
    )


class PixelState(NamedTuple):
    """The training state; a pytree."""

    heads: nnx.State
    optimizer: optax.OptState


TrainStep = Callable[
    [PixelState, Sequence[FeatureMap] | Mapping[int, FeatureMap], Int[Array, "batch rows columns"]],
    tuple[PixelState, Float[Array, " heads"]],
]


def training(
    heads: PixelHeads, transform: optax.GradientTransformation
) -> tuple[PixelState, TrainStep]:
    """The state before the first iteration, and the training step.

    The heads are not modified, since the state holds copies; for the transform see `optimizer`.

    Returns:
      The state, and `step(state, blocks, labels) -> (state, loss of each head)`, where `blocks`
      is what `PixelHeads` takes and `labels` holds 0 … classes − 1 or 255, at the size of the
      training crop. The step is not compiled: it belongs in one program with whatever computes
      the blocks. Trained heads are `nnx.merge(nnx.graphdef(heads), state.heads)`.
    """
    graph, initial = nnx.split(heads)

    def total_loss(parameters, blocks, labels):
        losses = pixel_cross_entropy(nnx.merge(graph, parameters)(blocks), labels)
        return losses.sum(), losses

    def step(state, blocks, labels):
        gradient, losses = jax.grad(total_loss, has_aux=True)(state.heads, blocks, labels)
        update, moments = transform.update(gradient, state.optimizer, state.heads)
        return PixelState(optax.apply_updates(state.heads, update), moments), losses

    initial = jax.tree.map(jnp.copy, initial)
    return PixelState(initial, transform.init(initial)), step

"""Token targets of BEiT and CAE: the nearest k-means centre of the training set's patches.

The originals classify the tokens of OpenAI's discrete VAE, whose weights cannot be distributed here.
The centres are fitted to patches of the objective's own views, and stored with the decoder.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, UInt8

from jaxpart.pretraining.crops import ViewConfig, make_views, normalize, patches_of
from jaxpart.pretraining.encode import DropPath
from jaxpart.pretraining.masks import block_mask
from jaxpart.pretraining.objective import Inputs, Objective

_ROUNDS = 20


def nearest(
    patches: Float[Array, "*patch pixel"], centers: Float[Array, "token pixel"]
) -> Int[Array, "*patch"]:
    """Index of the nearest centre by Euclidean distance."""
    products = jnp.matmul(patches, centers.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmin((centers**2).sum(axis=-1) - 2 * products, axis=-1)


def tokens_of(
    centers: Float[Array, "token pixel"], images: Float[Array, "batch height width 3"], side: int
) -> Int[Array, "batch patch"]:
    """Tokens of the patches of images with values in [0, 1]."""
    return nearest(patches_of(images, side), centers)


def token_cross_entropy(
    logits: Float[Array, "*patch tokens"], labels: Int[Array, "*patch"], mask: Array
) -> Float[Array, ""]:
    """Mean cross entropy to the tokens of the patches where the mask is True."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(where=mask)


class Task(NamedTuple):
    """Images with hidden patches, whose tokens are to be predicted.

    Attributes:
      images: Normalised pixels.
      labels: Token of every patch.
      mask: True where hidden.
      hidden: Maximum number of hidden patches per image.
      drop_path: Stochastic depth of the step.
    """

    images: Float[Array, "batch height width 3"]
    labels: Int[Array, "batch patch"]
    mask: Bool[Array, "batch patch"]
    hidden: int
    drop_path: DropPath


class TokenObjective(Objective):
    """What BEiT and CAE share: one view, blocks of hidden patches, and their tokens."""

    def task(self, inputs: Inputs, *, exact: bool) -> Task:
        """Makes views, tokens and masks; `exact`: see `block_mask`."""
        options, grid, side = self.config.objective, self.grid("view"), self.encoder.patch_size
        view_key, mask_key, drop_key = jax.random.split(inputs.key, 3)
        images = make_views(view_key, inputs.images, self.view("view"))[:, 0]
        labels = tokens_of(inputs.student.decoder.codebook[...], images, side)
        hidden = int(options.mask_share * labels.shape[1])
        smallest = options.smallest_block
        mask = block_mask(mask_key, len(images), grid, hidden, smallest=smallest, exact=exact)
        return Task(normalize(images), labels, mask, hidden, self.drop_path(drop_key))


@functools.partial(jax.jit, static_argnames=("view", "side", "tokens"))
def fit_codebook(
    key: Array,
    images: UInt8[Array, "images height width 3"],
    view: ViewConfig,
    side: int,
    tokens: int,
) -> Float[Array, "tokens pixel"]:
    """k-means centres of the patches of one view per image."""
    views, first = jax.random.split(key)
    sample = make_views(views, images, view)[:, 0]
    patches = patches_of(sample, side)
    return kmeans(first, patches.reshape(-1, patches.shape[-1]), tokens)


def kmeans(
    key: Array, points: Float[Array, "point channel"], count: int
) -> Float[Array, "count channel"]:
    """20 rounds of Lloyd's algorithm from k-means++ centres; an empty cluster keeps its centre."""
    first = points[jax.random.randint(key, (), 0, len(points))]

    def add(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        centers, distance = carry
        chosen = jax.random.categorical(jax.random.fold_in(key, i), jnp.log(distance))
        new = points[chosen]
        closer = jnp.minimum(distance, ((points - new) ** 2).sum(axis=1))
        return centers.at[i].set(new), closer

    centers = jnp.zeros((count, points.shape[1])).at[0].set(first)
    centers, _ = jax.lax.fori_loop(1, count, add, (centers, ((points - first) ** 2).sum(axis=1)))

    def improve(_: Array, centers: Array) -> Array:
        label = nearest(points, centers)
        total = jax.ops.segment_sum(points, label, count)
        number = jax.ops.segment_sum(jnp.ones(len(points)), label, count)[:, None]
        return jnp.where(number > 0, total / jnp.maximum(number, 1), centers)

    return jax.lax.fori_loop(0, _ROUNDS, improve, centers)

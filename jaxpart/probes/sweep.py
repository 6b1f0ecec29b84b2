"""Training and test steps of many heads in one program, for `jaxpart.probes.probe`.

Every array of the state has three leading axes: representations × seeds × learning rates. Heads that differ
only in learning rate see the same features, so their products are one matrix product; each seed draws its
own order of items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jaxpart.probes.items import TEST_BATCH, EvalPiece, TrainPiece
from jaxpart.probes.outcome import Heads, Scores, Training
from jaxpart.probes.recipe import Recipe


class Sweep:
    """The heads of one shape: one per representation, seed and learning rate.

    Each seed draws a head and the order of items; the first also the held-out items.
    """

    def __init__(
        self, make_head: Callable[..., nnx.Module], recipe: Recipe, seeds: Sequence[int]
    ) -> None:
        """Compiles nothing yet.

        `make_head` creates a head from `rngs=`, which is called with features, `statistics=` and `valid=`
        (see `BatchNorm`).
        """
        self._make_head, self.recipe, self.seeds = make_head, recipe, seeds
        self._transform = recipe.transform()
        self._graph = nnx.split(nnx.eval_shape(lambda: make_head(rngs=nnx.Rngs(0))))[0]
        self.train = jax.jit(self._train, static_argnames="gather", donate_argnums=0)
        self.test = jax.jit(self._test, donate_argnums=0)

    def start(self, *, representations: int, items: int) -> Training:
        """Fresh heads: one per seed, the same for every representation and learning rate."""
        states = [nnx.state(self._make_head(rngs=nnx.Rngs(seed))) for seed in self.seeds]
        lead = representations, len(self.seeds), len(self.recipe.rates)

        def spread(*leaves: Array) -> Array:
            return jnp.broadcast_to(jnp.stack(leaves)[None, :, None], (*lead, *leaves[0].shape))

        parameters, statistics = nnx.split_state(jax.tree.map(spread, *states), nnx.Param, ...)

        def unset(*shape: int) -> Array:  # separate arrays, since buffers are donated
            return jnp.full(shape, -1, jnp.int32)

        scores = Scores(
            right=unset(self.recipe.epochs, *lead),
            best_right=unset(*lead),
            best_epoch=unset(*lead),
            best=unset(*lead, items),
            chosen=unset(*lead, items),
            last=unset(*lead, items),
        )
        optimizer = jax.vmap(jax.vmap(jax.vmap(self._transform.init)))(parameters)
        heads = Heads(parameters, statistics)
        best, chosen = (jax.tree.map(jnp.zeros_like, heads) for _ in range(2))
        return Training(heads, optimizer, scores, best, chosen)

    def _logits(
        self,
        heads: Heads,
        features: Array,
        mode: str,
        valid: Bool[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch class"], nnx.State]:
        """Logits of one head, and its updated statistics."""
        head: Any = nnx.merge(self._graph, *heads, copy=True)
        logits = head(features.astype(jnp.float32), statistics=mode, valid=valid)
        return logits, nnx.state(head, nnx.BatchStat)

    def _train(
        self,
        state: Training,
        arrays: Any,
        piece: TrainPiece,
        *,
        gather: Callable[[Any, Any], tuple[Array, Array]],
    ) -> tuple[Training, dict[str, Array]]:
        """Runs several training steps.

        Args:
          state: State before the steps; its buffers are donated.
          arrays: Inputs of `gather`: features or pixels, and the encoder if it needs one.
          piece: The steps.
          gather: (arrays, a step of `piece.batches`) → features [representation, seed, batch, …] and
            labels [seed, batch]; the axis of seeds may be 1, where all see the same.

        Returns:
          The state after them, the "losses" of each step, [step, representation, seed, rate], and as
          "loss" each step's smallest, so that one diverging rate does not end a sweep.
        """

        def loss(parameters, statistics, features, labels, valid):
            heads = Heads(parameters, statistics)
            logits, statistics = self._logits(heads, features, "train", valid)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(where=valid), statistics

        def update_one(heads, optimizer, rate, features, labels, valid):
            parameters, statistics = heads
            (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(
                parameters, statistics, features, labels, valid
            )
            change, optimizer = self._transform.update(gradient, optimizer, parameters)
            parameters = jax.tree.map(lambda p, u: p - rate * u, parameters, change)
            return Heads(parameters, statistics), optimizer, value

        update: Any = jax.vmap(update_one, in_axes=(0, 0, 0, None, None, None))  # rates
        update = jax.vmap(update, in_axes=(0, 0, None, 0, 0, None))  # seeds
        update = jax.vmap(update, in_axes=(0, 0, None, 0, None, None))  # representations

        def step(carry, inputs):
            batch, rate, valid = inputs
            features, labels = gather(arrays, batch)
            seeds = len(self.seeds)
            features = jnp.broadcast_to(features, (len(features), seeds, *features.shape[2:]))
            labels = jnp.broadcast_to(labels, (seeds, *labels.shape[1:]))
            *carry, value = update(*carry, rate, features, labels, valid)
            return tuple(carry), value

        carry = state.heads, state.optimizer
        (heads, optimizer), losses = jax.lax.scan(step, carry, tuple(piece))
        finite = jnp.where(jnp.isfinite(losses), losses, jnp.nan)
        smallest = jnp.nanmin(finite, axis=(1, 2, 3))
        state = state._replace(heads=heads, optimizer=optimizer)
        return state, {"loss": smallest, "losses": losses}

    def _test(
        self,
        state: Training,
        piece: EvalPiece,
        labels: Int[Array, " item"],
        chosen_epoch: Int[Array, "representation seed rate"],
    ) -> tuple[Training, dict[str, Array]]:
        """Tests some items; after the last piece, the epoch's scores are complete.

        The state's buffers are donated. `labels` are those of ALL test items; the predictions after
        `chosen_epoch` are kept for the caller.
        """

        def classify(heads, features):
            logits, _ = self._logits(heads, features, self.recipe.bn_test)
            finite = jnp.isfinite(logits).all(axis=-1)
            return jnp.where(finite, logits.argmax(axis=-1), -1).astype(jnp.int32)

        classify_all: Any = jax.vmap(classify, in_axes=(0, None))
        classify_all = jax.vmap(jax.vmap(classify_all, in_axes=(0, None)))
        features, epoch, start = piece
        heads = state.heads

        def block(first):
            items = jax.lax.dynamic_slice_in_dim(features, first, TEST_BATCH, axis=1)
            return classify_all(heads, items)

        count = features.shape[1]
        full = count - count % TEST_BATCH
        predictions = []
        if full:
            blocks = jax.lax.map(block, jnp.arange(0, full, TEST_BATCH))
            predictions.append(jnp.moveaxis(blocks, 0, -2).reshape(*blocks.shape[1:-1], full))
        if full < count:
            predictions.append(classify_all(heads, features[:, full:]))
        scores = state.scores
        last = jax.lax.dynamic_update_slice_in_dim(
            scores.last, jnp.concatenate(predictions, axis=-1), start, axis=-1
        )
        correct = (last == labels).sum(axis=-1, dtype=jnp.int32)
        done = start + count == labels.shape[0]
        better = done & (correct > scores.best_right)
        chosen = done & (chosen_epoch == epoch)
        scores = Scores(
            right=scores.right.at[epoch].set(jnp.where(done, correct, -1)),
            best_right=jnp.where(better, correct, scores.best_right),
            best_epoch=jnp.where(better, epoch, scores.best_epoch),
            best=jnp.where(better[..., None], last, scores.best),
            chosen=jnp.where(chosen[..., None], last, scores.chosen),
            last=last,
        )
        state = state._replace(
            scores=scores,
            best=_replaced(better, heads, state.best),
            chosen=_replaced(chosen, heads, state.chosen),
        )
        return state, {"loss": jnp.float32(0)}  # no loss to watch


def _replaced(mask: Bool[Array, "representation seed rate"], new: Heads, old: Heads) -> Heads:
    """Replaces the heads where the mask is True."""

    def take(new: Array, old: Array) -> Array:
        return jnp.where(mask.reshape(*mask.shape, *[1] * (new.ndim - mask.ndim)), new, old)

    return jax.tree.map(take, new, old)

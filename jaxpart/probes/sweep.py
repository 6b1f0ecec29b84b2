"""Many heads trained and tested in one program: representations × seeds × learning rates.

Every array of the state leads with these three axes. Heads that differ in their learning rate alone
see the same features, so that their products are one matrix product with all their columns; seeds
draw an order of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

MakeHead = Callable[[nnx.Rngs], nnx.Module]
"""Draws a fresh head, which is called with features and `statistics=` (see `BatchNorm`)."""

TEST_BATCH = 256
"""Items tested at once, as in the published code: it matters to BatchNorm's batch statistics."""


class Scores(NamedTuple):
    """What was seen on the N test items, on the devices or as NumPy arrays.

    Attributes:
      right: Items classified right after each epoch, [epoch, representation, seed, rate]; -1 before.
      best_right: The most over epochs.
      best_epoch: The first epoch that had it, from 0; -1 before.
      best: Its predictions, [representation, seed, rate, N]; -1 where logits are not finite.
      chosen: Predictions after the epoch that the caller chose.
      last: Predictions after the last epoch tested, or half way through testing the next.
    """

    right: Int[Any, "epoch representation seed rate"]
    best_right: Int[Any, "representation seed rate"]
    best_epoch: Int[Any, "representation seed rate"]
    best: Int[Any, "representation seed rate item"]
    chosen: Int[Any, "representation seed rate item"]
    last: Int[Any, "representation seed rate item"]


class Heads(NamedTuple):
    """All heads of a sweep, as they were after some epoch.

    Attributes:
      parameters: What is trained.
      statistics: Running statistics of BatchNorm.
    """

    parameters: nnx.State
    statistics: nnx.State


class Training(NamedTuple):
    """State of a sweep; a pytree. What was best is part of it, so that any checkpoint holds both.

    Attributes:
      parameters: Of all heads.
      statistics: Running statistics of all heads' BatchNorm.
      optimizer: State of the optimiser, momentum above all.
      scores: See `Scores`.
      best: Each head as it was after its `Scores.best_epoch`; zeros before.
      chosen: Each head after the epoch that the caller chose; zeros before.
    """

    parameters: nnx.State
    statistics: nnx.State
    optimizer: optax.OptState
    scores: Scores
    best: Heads
    chosen: Heads

    def readings(self) -> dict[str, Heads]:
        """The heads that are kept: "best", "last" and "chosen"."""
        last = Heads(self.parameters, self.statistics)
        return {"best": self.best, "last": last, "chosen": self.chosen}


class Sweep:
    """The compiled training and testing of heads of one shape."""

    def __init__(
        self, make_head: MakeHead, transform: optax.GradientTransformation, *, bn_test: str
    ) -> None:
        """Compiles nothing yet.

        Args:
          make_head: Draws a head.
          transform: The optimiser without its learning rate: what the rate is multiplied with.
          bn_test: BatchNorm's statistics while testing: "running" or "batch" (the paper's code).
        """
        self._make_head, self._transform, self._bn_test = make_head, transform, bn_test
        self._graph = nnx.split(nnx.eval_shape(lambda: make_head(nnx.Rngs(0))))[0]
        self.train = jax.jit(self._train, donate_argnums=0)
        self.test = jax.jit(self._test, donate_argnums=0)

    def start(
        self, *, representations: int, seeds: Sequence[int], rates: int, epochs: int, items: int
    ) -> Training:
        """Fresh heads: one per seed, the same for every representation and learning rate.

        Args:
          representations: How many.
          seeds: Seeds of the heads.
          rates: Number of learning rates.
          epochs: Number of epochs.
          items: Number of test items.
        """
        heads = [nnx.state(self._make_head(nnx.Rngs(seed))) for seed in seeds]

        def spread(*leaves: Array) -> Array:
            stacked = jnp.stack(leaves)[None, :, None]
            shape = (representations, len(seeds), rates, *leaves[0].shape)
            return jnp.broadcast_to(stacked, shape)

        state = jax.tree.map(spread, *heads)
        parameters, statistics = nnx.split_state(state, nnx.Param, ...)
        lead = (representations, len(seeds), rates)

        def unseen(*shape: int) -> Array:  # arrays of their own, since buffers are donated
            return jnp.full(shape, -1, jnp.int32)

        scores = Scores(
            right=unseen(epochs, *lead),
            best_right=unseen(*lead),
            best_epoch=unseen(*lead),
            best=unseen(*lead, items),
            chosen=unseen(*lead, items),
            last=unseen(*lead, items),
        )
        optimizer = _over_heads(self._transform.init)(parameters)
        best, chosen = (
            Heads(*jax.tree.map(jnp.zeros_like, (parameters, statistics))) for _ in range(2)
        )
        return Training(parameters, statistics, optimizer, scores, best, chosen)

    def _logits(
        self,
        parameters: nnx.State,
        statistics: nnx.State,
        features: Array,
        mode: str,
        valid: Bool[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch class"], nnx.State]:
        head = nnx.merge(self._graph, parameters, statistics, copy=True)
        logits = head(features.astype(jnp.float32), statistics=mode, valid=valid)
        return logits, nnx.state(head, nnx.BatchStat)

    def _train(
        self,
        state: Training,
        resident: tuple[Array, Int[Array, " item"]] | None,
        steps: Any,
        rates: Float[Array, "step rate"],
        valid: Bool[Array, "step batch"] | None = None,
    ) -> tuple[Training, dict[str, Array]]:
        """A number of steps.

        Args:
          state: Before them; its buffers are taken over.
          resident: Features [representation, item, …] and labels that `steps` point into, or None.
          steps: Rows of the items of each step, [step, seed, batch]; or, with nothing resident,
            their features [step, representation, seed, batch, …] and labels [step, seed, batch].
          rates: Learning rates of each step.
          valid: False for items that only fill a step up to the size of the others: neither the loss nor
            BatchNorm sees them. By default all are valid.

        Returns:
          The state after them, the "losses" of each step, [step, representation, seed, rate], and as
          "loss" the least of each step's: one rate that diverges does not end a sweep.
        """

        def loss(parameters, statistics, features, labels, valid):
            logits, statistics = self._logits(parameters, statistics, features, "train", valid)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(where=valid), statistics

        def one(parameters, statistics, optimizer, rate, features, labels, valid):
            (value, statistics), slope = jax.value_and_grad(loss, has_aux=True)(
                parameters, statistics, features, labels, valid
            )
            update, optimizer = self._transform.update(slope, optimizer, parameters)
            parameters = jax.tree.map(lambda p, u: p - rate * u, parameters, update)
            return parameters, statistics, optimizer, value

        every: Any = jax.vmap(one, in_axes=(0, 0, 0, 0, None, None, None))  # rates
        every = jax.vmap(every, in_axes=(0, 0, 0, None, 0, 0, None))  # seeds
        every = jax.vmap(every, in_axes=(0, 0, 0, None, 0, None, None))  # representations

        def step(carry, inputs):
            batch, rate, valid = inputs
            if resident is not None:
                batch = resident[0][:, batch], resident[1][batch]
            *carry, value = every(*carry, rate, *batch, valid)
            return tuple(carry), value

        (parameters, statistics, optimizer), losses = jax.lax.scan(
            step, state[:3], (steps, rates, valid)
        )
        finite = jnp.where(jnp.isfinite(losses), losses, jnp.nan)
        least = jnp.nanmin(finite, axis=(1, 2, 3))
        state = state._replace(parameters=parameters, statistics=statistics, optimizer=optimizer)
        return state, {"loss": least, "losses": losses}

    def _test(
        self,
        state: Training,
        features: Array,
        labels: Int[Array, " item"],
        epoch: Int[Array, ""],
        start: Int[Array, ""],
        chosen_epoch: Int[Array, "representation seed rate"],
    ) -> tuple[Training, dict[str, Array]]:
        """Tests some of the items; after the last ones, the epoch's scores are complete.

        Args:
          state: Its buffers are taken over.
          features: Of some items, [representation, item, …].
          labels: Of ALL test items.
          epoch: Number of the epoch, from 0.
          start: Number of the first of these items.
          chosen_epoch: The epoch whose predictions are kept for the caller.
        """

        def classify(parameters, statistics, features):
            logits, _ = self._logits(parameters, statistics, features, self._bn_test)
            finite = jnp.isfinite(logits).all(axis=-1)
            return jnp.where(finite, logits.argmax(axis=-1), -1).astype(jnp.int32)

        every: Any = jax.vmap(classify, in_axes=(0, 0, None))
        every = jax.vmap(every, in_axes=(0, 0, None))
        every = jax.vmap(every)
        heads = Heads(state.parameters, state.statistics)

        def block(first):
            return every(*heads, jax.lax.dynamic_slice_in_dim(features, first, TEST_BATCH, axis=1))

        count = features.shape[1]
        whole = count - count % TEST_BATCH
        found = []
        if whole:
            blocks = jax.lax.map(block, jnp.arange(0, whole, TEST_BATCH))
            found.append(jnp.moveaxis(blocks, 0, -2).reshape(*blocks.shape[1:-1], whole))
        if whole < count:
            found.append(every(*heads, features[:, whole:]))
        scores = state.scores
        last = jax.lax.dynamic_update_slice_in_dim(
            scores.last, jnp.concatenate(found, axis=-1), start, axis=-1
        )
        right = (last == labels).sum(axis=-1, dtype=jnp.int32)
        done = start + count == labels.shape[0]
        better = done & (right > scores.best_right)
        chosen = done & (chosen_epoch == epoch)
        scores = Scores(
            right=scores.right.at[epoch].set(jnp.where(done, right, -1)),
            best_right=jnp.where(better, right, scores.best_right),
            best_epoch=jnp.where(better, epoch, scores.best_epoch),
            best=jnp.where(better[..., None], last, scores.best),
            chosen=jnp.where(chosen[..., None], last, scores.chosen),
            last=last,
        )
        state = state._replace(
            scores=scores,
            best=_taken(better, heads, state.best),
            chosen=_taken(chosen, heads, state.chosen),
        )
        return state, {"loss": jnp.float32(0)}  # nothing to be watched


def _taken(which: Bool[Array, "representation seed rate"], new: Heads, old: Heads) -> Heads:
    """Some heads anew, the others as they were."""

    def take(new: Array, old: Array) -> Array:
        return jnp.where(which.reshape(*which.shape, *[1] * (new.ndim - which.ndim)), new, old)

    return jax.tree.map(take, new, old)


def _over_heads(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of one head, of all of a sweep."""
    return jax.vmap(jax.vmap(jax.vmap(function)))

"""Multinomial logistic regression by L-BFGS: what a linear probe can reach without a training recipe."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
import threadpoolctl
from jaxtyping import Array, Float, Int

from jaxpart.metrics.moments import moments

ITERATIONS = 1000
"""Maximum iterations of L-BFGS; a tenth is usually enough."""


def logistic_regression(
    train: Float[np.ndarray, "train channel"],
    labels: Int[np.ndarray, " train"],
    test: Float[np.ndarray, "test channel"],
    *,
    advance: Callable[[int], None] = lambda count: None,
) -> Int[np.ndarray, " test"]:
    """Classes of test items, predicted by the weights that minimise the regularised cross entropy.

    The objective is that of scikit-learn's `LogisticRegression(C=1)`: the sum over items of the cross
    entropy, plus half the squared norm of the weights (not of the bias), here on features standardised by
    the training set's mean and deviation. It is convex, so the result does not depend on initialisation
    or order.
    """
    mean, deviation = moments(train)
    features = jnp.asarray((train - mean) / deviation, jnp.float32)
    targets = jnp.asarray(labels, jnp.int32)
    shape = train.shape[1] + 1, int(labels.max()) + 1

    def on_host(flat: Float[np.ndarray, " values"]) -> tuple[float, Float[np.ndarray, " values"]]:
        value, gradient = _objective(np.float32(flat.reshape(shape)), features, targets)
        return float(value), np.asarray(gradient, np.float64).ravel()

    # L-BFGS's vectors are so short that BLAS threads wait for each other: four times the CPU time.
    with threadpoolctl.threadpool_limits(1, "blas"):
        result = scipy.optimize.minimize(
            on_host,
            np.zeros(shape[0] * shape[1]),
            jac=True,
            method="L-BFGS-B",
            callback=lambda flat: advance(1),
            options={"maxiter": ITERATIONS, "gtol": 1e-6, "ftol": 1e-9},
        )
    weights = jnp.asarray(result.x.reshape(shape), jnp.float32)
    logits = _logits(jnp.asarray((test - mean) / deviation, jnp.float32), weights)
    return np.asarray(logits.argmax(axis=1))


@jax.jit
@jax.value_and_grad
def _objective(
    weights: Float[Array, "input class"],
    features: Float[Array, "item channel"],
    targets: Int[Array, " item"],
) -> Float[Array, ""]:
    """The mean loss, which preserves float32's digits, and its gradient; the last input is the bias."""
    losses = optax.softmax_cross_entropy_with_integer_labels(_logits(features, weights), targets)
    penalty = 0.5 * jnp.square(weights[:-1]).sum()
    return (losses.sum() + penalty) / len(targets)


@jax.jit
def _logits(features: Array, weights: Array) -> Float[Array, "item class"]:
    product = jnp.matmul(features, weights[:-1], precision=jax.lax.Precision.HIGHEST)
    return product + weights[-1]

"""Linear layers with gradients of their own: JAX's values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxpart.cpu.products import train_products
from jaxpart.encoders.precision import set_precision


@pytest.mark.slow
@pytest.mark.parametrize("out", [6, 11])
@pytest.mark.parametrize("shape", [(5, 8), (3, 5, 8), (2, 3, 5, 7)])
def test_gradients(shape, out):
    layer = nnx.Linear(shape[-1], out, rngs=nnx.Rngs(0))
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)

    def found():
        graph, state = nnx.split(layer)
        return jax.value_and_grad(
            lambda state, inputs: (nnx.merge(graph, state)(inputs) ** 3).sum(), argnums=(0, 1)
        )(state, inputs)

    expected = found()
    set_precision(layer, "float32")
    train_products(layer)
    assert "custom_vjp" in str(jax.make_jaxpr(layer)(inputs))
    for ours, theirs in zip(jax.tree.leaves(found()), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)

"""Training of probes: the published losses and weights, PyTorch twins, sweeps, seeds, streaming."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxpart.probes.attentive import AttentiveHead
from jaxpart.probes.items import Items
from jaxpart.probes.linear import LinearHead
from jaxpart.probes.probing import train_heads
from jaxpart.probes.recipe import Recipe

ATTENTIVE = {
    "query": "query_token",
    "norm_q.scale": "cross_attn.norm1_q_cross.weight",
    "norm_q.bias": "cross_attn.norm1_q_cross.bias",
    "norm_k.scale": "cross_attn.norm1_k_cross.weight",
    "norm_k.bias": "cross_attn.norm1_k_cross.bias",
    "norm_v.scale": "cross_attn.norm1_v_cross.weight",
    "norm_v.bias": "cross_attn.norm1_v_cross.bias",
    "q": "cross_attn.cross_attn.q.weight",
    "k": "cross_attn.cross_attn.k.weight",
    "v": "cross_attn.cross_attn.v.weight",
    "q_bias": "cross_attn.cross_attn.q_bias",
    "v_bias": "cross_attn.cross_attn.v_bias",
    "out": "cross_attn.cross_attn.proj.weight",
    "out_bias": "cross_attn.cross_attn.proj.bias",
    "norm.mean": "fc_norm.running_mean",
    "norm.var": "fc_norm.running_var",
    "kernel": "head.weight",
    "bias": "head.bias",
}
LINEAR = {"kernel": "head.weight", "bias": "head.bias"}


def published(names, arrays, prefix):
    """Our values by dotted path, from arrays under PyTorch's names."""
    values = {path: jnp.asarray(arrays[prefix + name]) for path, name in names.items()}
    values = {path: v.T if v.ndim == 2 else v.reshape(-1) for path, v in values.items()}
    return values


def filled(head, values):
    state = nnx.state(head)
    for path, leaf in nnx.to_flat_state(state):
        leaf.set_value(values[".".join(map(str, path))])
    nnx.update(head, state)
    return head


def flat(*states, at=(0, 0, 0)):
    return {
        ".".join(map(str, path)): np.asarray(leaf[...])[at]
        for state in states
        for path, leaf in nnx.to_flat_state(state)
    }


def in_order(seed, epoch, count):
    return np.arange(count)


@pytest.mark.parametrize("bn_test", ["running", "batch"])
@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_golden(kind, bn_test, golden):
    arrays = np.load(golden / "protocol" / f"probe_{kind}.npz")
    tokens, labels = arrays["tokens"], arrays["labels"]
    features = tokens if kind == "attentive" else tokens[:, 0]
    names = ATTENTIVE if kind == "attentive" else LINEAR
    width, classes = features.shape[-1], 3
    fresh = AttentiveHead if kind == "attentive" else LinearHead

    def make(rngs):
        return filled(fresh(width, classes, rngs=rngs), published(names, arrays, "init/"))

    losses = []
    base = 0.04 if kind == "attentive" else 0.4
    state, scores = train_heads(
        make,
        Items([features[:192]], labels[:192]),
        Items([features[192:]], labels[192:]),
        Recipe((base * 4,), epochs=5, batch_size=64, bn_test=bn_test),
        [0],
        order=in_order,
        log=lambda epoch, metrics: losses.extend(metrics.get("losses", [])),
    )
    np.testing.assert_allclose(np.ravel(losses), arrays["losses"], rtol=0, atol=1e-4)
    final = flat(state.parameters, state.statistics)
    for path, value in published(names, arrays, "final/").items():
        np.testing.assert_allclose(final[path], value, rtol=0, atol=1e-4, err_msg=path)
    head = filled(fresh(width, classes, rngs=nnx.Rngs(0)), final)
    logits = head(jnp.asarray(features[192:]), statistics=bn_test)
    running = kind == "attentive" and bn_test == "running"
    expected = arrays["eval_logits_running_stats" if running else "eval_logits"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(scores.last[0, 0, 0], expected.argmax(1))

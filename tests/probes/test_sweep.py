"""Training of probes: the published losses and weights, PyTorch twins, sweeps, seeds, streaming."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxpart import devices
from jaxpart.errors import JaxpartError
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.probes.attentive import AttentiveHead
from jaxpart.probes.items import Items, shuffled
from jaxpart.probes.linear import LinearHead
from jaxpart.probes.normalization import BatchNorm
from jaxpart.probes.probe import fit
from jaxpart.probes.recipe import Recipe
from jaxpart.probes.sweep import Sweep
from jaxpart.training import Stopped

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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_golden(kind, golden, monkeypatch):
    monkeypatch.setattr("jaxpart.probes.items.shuffled", in_order)
    arrays = np.load(golden / f"protocol/probe_{kind}.npz")
    tokens, labels = arrays["tokens"], arrays["labels"]
    features = tokens if kind == "attentive" else tokens[:, 0]
    names = ATTENTIVE if kind == "attentive" else LINEAR
    width, classes = features.shape[-1], 3
    fresh = AttentiveHead if kind == "attentive" else LinearHead

    def make(rngs):
        return filled(fresh(width, classes, rngs=rngs), published(names, arrays, "init/"))

    losses = []
    base = 0.04 if kind == "attentive" else 0.4
    recipe = Recipe((base * 4,), epochs=5, batch_size=64, bn_test="batch")
    (state,) = fit(
        [Sweep(make, recipe, [0])],
        Items([features[:192]], labels[:192]),
        [Items([features[192:]], labels[192:])],
        log=lambda sweep, epoch, metrics: losses.extend(metrics.get("losses", [])),
    )
    np.testing.assert_allclose(np.ravel(losses), arrays["losses"], rtol=0, atol=1e-4)
    final = flat(*state.heads)
    for path, value in published(names, arrays, "final/").items():
        np.testing.assert_allclose(final[path], value, rtol=0, atol=1e-4, err_msg=path)
    head = filled(fresh(width, classes, rngs=nnx.Rngs(0)), final)
    for statistics in ("batch", "running"):
        running = kind == "attentive" and statistics == "running"
        expected = arrays["eval_logits_running_stats" if running else "eval_logits"]
        logits = head(jnp.asarray(features[192:]), statistics=statistics)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(state.scores.last[0, 0, 0], arrays["eval_logits"].argmax(1))


def data(count=50, width=8, classes=3, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    features = random.normal(size=(count, width)) + 0.8 * np.eye(classes, width)[labels]
    return features.astype(np.float32), labels


RECIPE = Recipe((0.1, 1.0), epochs=3, batch_size=12)


def batch_normed(rngs):
    return LinearHead(8, 3, batch_norm=True, rngs=rngs)


def run(train, test, recipe=RECIPE, seeds=(0,), **options):
    sweep = Sweep(batch_normed, recipe, seeds)
    train, test = (Items([features], labels) for features, labels in (train, test))
    return fit([sweep], train, [test], **options)[0]


@pytest.fixture(scope="module")
def both():
    return data(50), data(300, seed=1)


@pytest.fixture(scope="module")
def swept(both):
    return run(*both, seeds=(0, 1))


@pytest.mark.slow
def test_seeds_and_rates_in_one_program_are_those_one_by_one(both, swept):
    state, scores = swept, swept.scores
    alone = run(*both, Recipe((1.0,), epochs=3, batch_size=12), seeds=(1,))
    together = flat(*state.heads, at=(0, 1, 1))
    for path, value in flat(*alone.heads).items():
        np.testing.assert_allclose(together[path], value, rtol=0, atol=1e-5, err_msg=path)
    np.testing.assert_array_equal(scores.last[0, 1, 1], alone.scores.last[0, 0, 0])
    assert not np.array_equal(
        together["kernel"], flat(state.heads.parameters, at=(0, 0, 1))["kernel"]
    )


@pytest.mark.slow
def test_streaming_is_training_on_what_stays(both, swept, monkeypatch):
    # Pieces of two steps and of one test batch.
    monkeypatch.setattr("jaxpart.probes.items.PIECE_BYTES", 2 * 2 * 12 * 4 * 8)
    state = run(*both, seeds=(0, 1), memory=0)
    for path, value in flat(*swept.heads, at=...).items():
        ours = flat(*state.heads, at=...)[path]
        np.testing.assert_allclose(ours, value, rtol=0, atol=1e-5, err_msg=path)
    for ours, value in zip(state.scores, swept.scores, strict=True):
        np.testing.assert_array_equal(ours, value)


def test_steps_that_memory_does_not_hold_are_refused(both, monkeypatch):
    step = 2 * 12 * 4 * 8  # seeds, items, bytes, channels
    monkeypatch.setattr("jaxpart.probes.items.memory_limit", lambda: 3 * step - 1)
    with pytest.raises(JaxpartError, match=r"steps of 12 items take .* lower the batch_size"):
        run(*both, seeds=(0, 1), memory=0)


@pytest.mark.slow
def test_one_device_and_four_agree(monkeypatch):
    """Batches that 4 devices share, and such as they cannot."""
    found = {}
    for number in (4, 1):
        monkeypatch.setattr(
            devices, "_devices", lambda number=number: tuple(jax.devices()[:number])
        )
        assert devices.mesh().size == devices.count() == number
        for batch in (12, 11):
            recipe = Recipe(RECIPE.rates, epochs=2, batch_size=batch)
            state = run(data(50), data(20, seed=1), recipe)
            found[number, batch] = flat(state.heads.parameters, at=(0, 0, 1))["kernel"]
    for batch in (12, 11):
        np.testing.assert_allclose(found[4, batch], found[1, batch], rtol=0, atol=1e-5)


def test_scores_are_what_they_say(both, swept):
    scores, labels = swept.scores, both[1][1]
    right = (scores.last == labels).sum(-1)
    np.testing.assert_array_equal(scores.right[-1], right)
    np.testing.assert_array_equal(scores.best_right, scores.right.max(0))
    np.testing.assert_array_equal(scores.best_epoch, scores.right.argmax(0))
    np.testing.assert_array_equal((scores.best == labels).sum(-1), scores.best_right)
    assert (scores.chosen == -1).all()


def test_the_heads_that_are_kept_give_their_predictions(both, swept):
    features = jnp.asarray(both[1][0])
    kept = {"best": swept.best, "last": swept.heads, "chosen": swept.chosen}
    assert len({heads.parameters["kernel"][...].tobytes() for heads in kept.values()}) == 3
    assert not kept["chosen"].parameters["kernel"][...].any()  # no epoch was to be chosen
    for name in ("best", "last"):
        for at in itertools.product([0], [0, 1], [0, 1]):
            head = filled(batch_normed(nnx.Rngs(0)), flat(*kept[name], at=at))
            found = head(features, statistics="running").argmax(-1)
            np.testing.assert_array_equal(found, getattr(swept.scores, name)[at])


def test_resumed_training_is_the_undisturbed_one(both, swept, tmp_path):
    def terminate(sweep, epoch, metrics):
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    keeper = Checkpointer(tmp_path)
    with pytest.raises(Stopped):
        run(*both, seeds=(0, 1), checkpointer=keeper, log=terminate)
    epochs = []
    state = run(
        *both,
        seeds=(0, 1),
        checkpointer=Checkpointer(tmp_path),
        log=lambda sweep, epoch, metrics: epochs.append(epoch),
    )
    assert min(epochs) >= 1
    for ours, value in zip(jax.tree.leaves(state), jax.tree.leaves(swept), strict=True):
        np.testing.assert_array_equal(ours, value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_head_that_diverges_does_not_end_the_others():
    features, labels = data(24)
    recipe = Recipe((0.1, 1e40), epochs=2, batch_size=12)
    items = Items([features], labels)
    make = functools.partial(LinearHead, 8, 3)
    scores = fit([Sweep(make, recipe, [0])], items, [items])[0].scores
    assert (scores.last[0, 0, 1] == -1).all()
    assert scores.best_right[0, 0, 0] > 10
    with pytest.raises(JaxpartError, match="the loss is"):
        fit([Sweep(make, Recipe((1e40,), 2, batch_size=12), [0])], items, [items])


def test_a_small_training_set_is_one_batch():
    features, labels = data(7)
    losses = []
    items = Items([features], labels)
    sweep = Sweep(functools.partial(LinearHead, 8, 3), Recipe((0.1,), 2, batch_size=1024), [0])
    fit(
        [sweep],
        items,
        [items],
        log=lambda sweep, epoch, metrics: losses.append(metrics.get("losses")),
    )
    assert [loss.shape[0] for loss in losses if loss is not None] == [1, 1]


def test_rates():
    recipe = Recipe((0.1, 0.2), epochs=4, batch_size=512)
    epochs = [recipe.rates_at(epoch, range(2), 2) for epoch in range(4)]
    cosine = [0.5 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    for found, share in zip(epochs, cosine, strict=True):
        np.testing.assert_allclose(found, [[0.2 * share, 0.4 * share]] * 2, rtol=1e-6)
    warm = Recipe((1.0,), epochs=4, batch_size=256, warmup=2, every_step=True)
    steps = np.concatenate([warm.rates_at(epoch, range(2), 2) for epoch in range(4)])
    expected = [0, 0.25, 0.5, 0.75, 1, 0.5 * (1 + math.cos(math.pi / 4)), 0.5]
    np.testing.assert_allclose(steps[:7, 0], expected, rtol=1e-6, atol=1e-7)
    above = dataclasses.replace(
        warm, rates=(0.4,), scale_rates=False, batch_size=8192, end_rate=0.1
    )
    steps = np.concatenate([above.rates_at(epoch, range(2), 2) for epoch in range(5)])
    falling = [0.1 + 0.3 * 0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(5)]
    np.testing.assert_allclose(steps[:9, 0], [0, 0.1, 0.2, 0.3, *falling], rtol=1e-6, atol=1e-7)


KINDS = ("linear", "attentive", "cae linear", "cae attentive")
"""Part classification's, and CAE's on ImageNet."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_twin(kind):
    """40 items in batches of 16: part classification keeps the last 8, CAE drops them."""
    torch = pytest.importorskip("torch")
    from tests.probes import torch_probes

    random = np.random.default_rng(3)
    tokens = random.normal(size=(60, 5, 12)).astype(np.float32)
    labels = random.integers(0, 3, 60)
    tokens[:, :2, :3] += 2 * np.eye(3, dtype=np.float32)[labels][:, None]
    attentive, cae = "attentive" in kind, "cae" in kind
    features = tokens if attentive else tokens[:, 0]
    head = (
        AttentiveHead(12, 3, num_heads=4, initial="cae" if cae else "truncated", rngs=nnx.Rngs(5))
        if attentive
        else LinearHead(12, 3, batch_norm=cae, rngs=nnx.Rngs(5))
    )
    values = {
        ".".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(head))
    }
    names = torch_probes.NAMES if attentive else {"kernel": "1.weight", "bias": "1.bias"}
    before = torch.nn.BatchNorm1d(12, affine=False, eps=1e-6) if cae else torch.nn.Identity()
    linear = torch.nn.Sequential(before, torch.nn.Linear(12, 3))
    module = torch_probes.TorchAttentive(12, 3, 4) if attentive else linear
    torch_probes.copied(module, values, names)
    recipe = Recipe((0.1,), epochs=4, batch_size=16)
    options = {"rate_at": torch_probes.part_classification(0.1 * 16 / 256, 4)}
    if cae:
        steps = {"warmup": 1, "every_step": True, "drop_last": True}
        options["drop_last"] = True
    if kind == "cae linear":
        recipe = dataclasses.replace(recipe, rates=(64.0,), lars=True, **steps)
        options["rate_at"] = torch_probes.cae(4, 4, warmup=1, end=0)
        options["optimizer"] = torch_probes.Lars(module.parameters(), lr=1)
    if kind == "cae attentive":
        own = {"scale_rates": False, "end_rate": 1e-6, "nesterov": True, "bn_test": "batch"}
        recipe = dataclasses.replace(recipe, rates=(0.4,), **own, **steps)
        options["rate_at"] = torch_probes.cae(0.4, 4, warmup=1, end=1e-6)
        options["test_in_training_mode"] = True
        options["optimizer"] = torch.optim.SGD(
            module.parameters(), lr=1, momentum=0.9, nesterov=True
        )
    expected = torch_probes.train(
        module,
        features[:40],
        labels[:40],
        features[40:],
        epochs=4,
        batch=16,
        order=lambda epoch, count: shuffled(7, epoch, count),
        **options,
    )
    train, test = (Items([features[part]], labels[part]) for part in (slice(40), slice(40, None)))
    (state,) = fit([Sweep(lambda rngs: head, recipe, [7])], train, [test])
    scores, final = state.scores, flat(*state.heads)
    theirs = module.state_dict()
    norm = "fc_norm" if attentive else "0" if cae else ""
    if norm:
        names = names | {"norm.mean": f"{norm}.running_mean", "norm.var": f"{norm}.running_var"}
    for path, value in published(names, theirs, "").items():
        np.testing.assert_allclose(final[path], value, rtol=0, atol=1e-4, err_msg=path)
    np.testing.assert_array_equal(scores.last[0, 0, 0], expected[-1])
    right = (expected == labels[40:]).sum(axis=1)
    np.testing.assert_array_equal(scores.right[:, 0, 0, 0], right)


def test_fresh_attentive_heads():
    """Cut off at ±1 standard deviation, as published; CAE's own is not, and its query is 0."""
    published, cae = (
        AttentiveHead(240, 3, initial=initial, rngs=nnx.Rngs(0)) for initial in ("truncated", "cae")
    )
    for kernel in (published.query, published.q, published.k, published.v, published.out):
        assert 0.0196 < np.abs(kernel[...]).max() <= 0.02
    kernels = np.stack([published.q[...], published.k[...], published.v[...], published.out[...]])
    assert kernels.std() == pytest.approx(0.0108, rel=0.01)
    assert not cae.query[...].any()
    assert cae.v[...].std() == pytest.approx(0.02, rel=0.02)
    for head in (published, cae):
        assert not any(b[...].any() for b in (head.q_bias, head.v_bias, head.out_bias, head.bias))


def test_one_item_left_over_leaves_the_running_variance():
    norm = BatchNorm(2)
    rows, valid = jnp.asarray([[3.0, 5.0], [9.0, 9.0]]), jnp.asarray([True, False])
    found = norm(rows, statistics="train", valid=valid)
    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_allclose(norm.mean[...], [0.3, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(norm.var[...], 1)


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(JaxpartError, match="do not split into 5"):
        AttentiveHead(12, 3, num_heads=5, rngs=nnx.Rngs(0))

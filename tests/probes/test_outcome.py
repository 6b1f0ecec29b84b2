"""The three readings of a probe, the choice without the test set among them."""

from __future__ import annotations

import functools

import numpy as np
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpart.probes.items import Items
from jaxpart.probes.linear import LinearHead
from jaxpart.probes.outcome import Heads, Scores, Training, held_out
from jaxpart.probes.probe import probe
from jaxpart.probes.recipe import Recipe
from jaxpart.probes.sweep import Sweep


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.integers(0, 5))
def test_whole_images_are_held_out(groups, seed):
    groups = np.array(groups)
    if len(np.unique(groups)) < 2:
        return
    held = held_out(groups, seed)
    assert held.any()
    assert not held.all()
    assert not set(groups[held]) & set(groups[~held])
    assert held.mean() <= 0.1 or len(np.unique(groups[held])) == 1
    np.testing.assert_array_equal(held, held_out(groups, seed))


def trained(right, chosen_epoch, items):
    """Heads and predictions that are the number of the epoch; right: [epoch, 1, seed, rate]."""
    lead = right.shape[1:]
    epoch = right.argmax(axis=0)
    spread = np.ones(items, int)
    scores = Scores(
        right=right,
        best_right=right.max(axis=0),
        best_epoch=epoch,
        best=epoch[..., None] * spread,
        chosen=np.broadcast_to(chosen_epoch, lead)[..., None] * spread,
        last=np.full((*lead, items), len(right) - 1),
    )

    def heads(epoch):
        return Heads(nnx.State({"bias": nnx.Param(np.broadcast_to(epoch, lead))}), nnx.State({}))

    last = heads(len(right) - 1)
    return Training(last, None, scores, best=heads(epoch), chosen=heads(chosen_epoch))


def probed(fit, groups, monkeypatch, *, rates, seeds):
    """The outcomes of a sweep whose training is made up; 40 training items and 50 test items."""
    sweep = Sweep(functools.partial(LinearHead, 2, 3), Recipe((0.1,) * rates, epochs=3), seeds)
    monkeypatch.setattr("jaxpart.probes.probe.fit", fit)
    train, test = (Items([np.zeros((count, 2))], np.zeros(count)) for count in (40, 50))
    return probe([sweep], train, [test], groups=groups)[0]


def test_rate_and_epoch_are_chosen_on_the_held_out_items(monkeypatch):
    calls, groups = [], np.arange(40)
    # Held out: seed 0 likes rate 1 at epoch 1, seed 1 likes rate 0 at epoch 2; first of equals.
    held = np.array([[[[3, 4], [2, 2]]], [[[4, 6], [2, 2]]], [[[5, 6], [7, 7]]]])
    test = np.array([[[[30, 9], [20, 9]]], [[[12, 40], [20, 9]]], [[[30, 3], [10, 50]]]])

    def fit(sweeps, train, tests, *, items=None, chosen_epochs=(None,), **options):
        calls.append((items, len(tests[0]), chosen_epochs[0]))
        if items is not None:
            return [trained(held, -1, 50)]
        return [trained(test, chosen_epochs[0], 50)]

    (outcome,) = probed(fit, groups, monkeypatch, rates=2, seeds=[3, 4])
    out = np.flatnonzero(held_out(groups, 3))
    assert len(out) == calls[0][1] == 4
    np.testing.assert_array_equal(calls[0][0], np.setdiff1d(groups, out))
    assert calls[1][:2] == (None, 50)
    np.testing.assert_array_equal(calls[1][2], [[[-1, 1], [2, -1]]])
    np.testing.assert_array_equal(outcome.rate, [1, 0])
    np.testing.assert_array_equal(outcome.epoch, [1, 2])
    np.testing.assert_array_equal(outcome.chosen[:, 0], [1, 2])
    np.testing.assert_array_equal(outcome.best_rate, [1, 1])
    np.testing.assert_array_equal(outcome.best_epoch, [1, 2])
    np.testing.assert_array_equal(outcome.best[:, 0], [1, 2])
    np.testing.assert_array_equal(outcome.last[:, 0], [2, 2])
    for name, predictions in outcome.predictions().items():
        np.testing.assert_array_equal(outcome.heads[name]["bias"], predictions[:, 0])
    np.testing.assert_allclose(outcome.accuracy[1, 1], [0.18, 0.18, 1.0])
    assert set(outcome.predictions()) == {"best", "last", "chosen"}


def test_nothing_is_chosen_where_nothing_is_held_out(monkeypatch):
    test = np.arange(3).reshape(3, 1, 1, 1)
    for groups in (None, np.zeros(40)):

        def fit(sweeps, train, tests, *, chosen_epochs, **options):
            return [trained(test, chosen_epochs[0], 9)]

        (outcome,) = probed(fit, groups, monkeypatch, rates=1, seeds=[0])
        assert outcome.chosen is None
        assert set(outcome.predictions()) == {"best", "last"}

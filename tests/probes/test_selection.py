"""The three readings of a probe, the choice without the test set among them."""

from __future__ import annotations

import numpy as np
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpart.probes.selection import held_out, probe
from jaxpart.probes.sweep import Heads, Scores, Training


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
    return Training(*last, None, scores, best=heads(epoch), chosen=heads(chosen_epoch))


def test_rate_and_epoch_are_chosen_on_the_held_out_items():
    calls = []
    # Held out: seed 0 likes rate 1 at epoch 1, seed 1 likes rate 0 at epoch 2; first of equals.
    held = np.array([[[[3, 4], [2, 2]]], [[[4, 6], [2, 2]]], [[[5, 6], [7, 7]]]])
    test = np.array([[[[30, 9], [20, 9]]], [[[12, 40], [20, 9]]], [[[30, 3], [10, 50]]]])

    def train(out, chosen_epoch):
        calls.append((out, chosen_epoch))
        if out is not None:
            return trained(held, -1, 50)
        return trained(test, chosen_epoch, 50)

    (outcome,) = probe(train, (1, 2, 2), np.arange(40), seed=3)
    assert calls[0][0].sum() == 4
    assert calls[1][0] is None
    np.testing.assert_array_equal(calls[1][1], [[[-1, 1], [2, -1]]])
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


def test_nothing_is_chosen_where_nothing_is_held_out():
    test = np.arange(3).reshape(3, 1, 1, 1)
    for groups in (None, np.zeros(9)):
        (outcome,) = probe(lambda out, epoch: trained(test, epoch, 9), (1, 1, 1), groups, seed=0)
        assert outcome.chosen is None
        assert set(outcome.predictions()) == {"best", "last"}

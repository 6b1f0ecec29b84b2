"""Several sweeps on the same random views: each view encoded once, every head the same as alone."""

from __future__ import annotations

import functools
import os
import signal

import jax
import numpy as np
import pytest

from jaxpart import devices
from jaxpart.data.critters import Critters
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.vit import ViTConfig
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.probes import random_views
from jaxpart.probes.attentive import AttentiveHead
from jaxpart.probes.items import Items
from jaxpart.probes.linear import LinearHead
from jaxpart.probes.probe import fit
from jaxpart.probes.random_views import RandomViews, shared_parts
from jaxpart.probes.recipe import Recipe
from jaxpart.probes.sweep import Sweep
from jaxpart.training import Stopped

SIDE, CLASSES, IMAGES = 16, 24, 20
NAMES = (("cls_token",), ("tokens",))


@pytest.fixture(scope="module")
def encoder():
    config = ViTConfig(
        image_size=(SIDE, SIDE), patch_size=8, width=16, depth=1, num_heads=2, mlp_width=16
    )
    return devices.replicate(random_encoder("ibot", config))


@functools.cache
def sweep(head, batch):
    """Three epochs of a linear head or two of an attentive one."""
    if head == "linear":
        make = functools.partial(LinearHead, 16, CLASSES)
        return Sweep(make, Recipe((0.1, 1.0), epochs=3, batch_size=batch), [0])
    make = functools.partial(AttentiveHead, 16, CLASSES, num_heads=2)
    return Sweep(make, Recipe((0.1,), epochs=2, batch_size=batch), [0])


@functools.cache
def items(names):
    random = np.random.default_rng(1)
    shape = (5, 16) if names == ("tokens",) else (16,)
    features = [random.normal(size=(12, *shape)).astype(np.float32) for _ in names]
    return Items(features, np.arange(12) % CLASSES)


@pytest.fixture(scope="module")
def train(encoder):
    """Trains heads on random views: their states, and the numbers of images that were encoded."""

    def run(*heads, **options):
        sizes = []
        encoded = random_views.encoded

        def counted(encoder, images, *, names):
            sizes.append(len(images))
            return encoded(encoder, images, names=names)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(random_views, "encoded", counted)
            names = tuple(NAMES[head == "attentive"] for head, _ in heads)
            views = RandomViews(encoder, Critters("train", IMAGES), names, SIDE, 0, 0, None)
            tests = [items(some) for some in names]
            return fit([sweep(*head) for head in heads], views, tests, **options), sizes

    return run


@pytest.fixture(scope="module")
def alone(train):
    @functools.cache
    def run(head, batch):
        ((state,), sizes) = train((head, batch))
        return state, sizes

    return run


def assert_same(ours, theirs, tolerance=0.0):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@pytest.mark.slow
def test_both_heads_are_those_alone_to_the_bit(train, alone):
    (linear, attentive), encoded = train(("linear", 8), ("attentive", 8))
    assert_same(linear, alone("linear", 8)[0])
    assert_same(attentive, alone("attentive", 8)[0])
    # Two batches an epoch.
    assert encoded == alone("linear", 8)[1] == [8] * 6
    assert alone("attentive", 8)[1] == [8] * 4


@pytest.mark.slow
def test_a_larger_batch_takes_several_parts(train, alone):
    """To rounding: a product's rows may differ in the last bit between batches of other sizes."""
    (linear, attentive), encoded = train(("linear", 16), ("attentive", 8))
    assert_same(linear.heads, alone("linear", 16)[0].heads, 1e-5)
    assert_same(attentive, alone("attentive", 8)[0])
    assert encoded == [8] * 6


@pytest.mark.slow
def test_sizes_that_do_not_divide_are_encoded_each_for_itself(train, alone):
    (linear, attentive), encoded = train(("linear", 12), ("attentive", 8))
    assert_same(linear, alone("linear", 12)[0])
    assert_same(attentive, alone("attentive", 8)[0])
    assert sorted(encoded) == [8] * 4 + [12] * 3


@pytest.mark.slow
def test_stopped_between_two_heads_and_resumed(train, tmp_path):
    heads = ("linear", 16), ("attentive", 8)
    undisturbed, _ = train(*heads)
    pieces = 0

    def terminate(sweep, epoch, metrics):
        nonlocal pieces
        pieces += 1
        if pieces == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    for stop in (1, 3, 4):
        pieces, folder = 0, tmp_path / str(stop)
        with pytest.raises(Stopped):
            train(*heads, checkpointer=Checkpointer(folder), log=terminate)
        resumed, _ = train(*heads, checkpointer=Checkpointer(folder))
        assert_same(resumed, undisturbed)


def test_parts_of_batches_of_several_sizes():
    assert shared_parts([8, 16, 8]) == {8: 8, 16: 8}
    assert shared_parts([12, 8, 24]) == {8: 8, 12: 12, 24: 8}
    assert shared_parts([1024, 256]) == {256: 256, 1024: 256}

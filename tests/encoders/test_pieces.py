"""Large batches on a CPU, a piece at a time: how many pieces, and the same results."""

import contextlib

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpart import devices
from jaxpart.cpu import microbatch
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.small import small_config
from tests.compile_checks import exchanges

CONFIG = small_config("dino")
SIZE = (64, 96)
IMAGE = 25 * CONFIG.mlp_width * 4
"""Bytes of the largest array of one image."""


@contextlib.contextmanager
def pieces_of(room):
    """With room for so many bytes in a piece."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(microbatch, "_BYTES_PER_CORE", room)
        patch.setattr(microbatch.os, "cpu_count", lambda: 1)
        yield


@given(st.integers(1, 200), st.integers(1, 8), st.integers(1, 30))
def test_count(share, count, fitting):
    """The fewest equal pieces that fit and that all devices share; the smallest if none fits."""
    batch = share * count
    with pieces_of(fitting * IMAGE):
        found = microbatch.count_pieces(batch, CONFIG, SIZE, count)
    assert batch % found == 0
    assert batch // found % count == 0
    fewer = [n for n in range(1, found) if share % n == 0]
    assert all(batch // n > fitting for n in fewer)
    assert batch // found <= fitting or batch // found == count


def test_a_batch_that_devices_cannot_share_is_one_piece():
    with pieces_of(1):
        assert microbatch.count_pieces(7, CONFIG, SIZE, 8) == 1


@pytest.mark.slow
def test_same_results_and_no_exchanges():
    encoder = random_encoder("ibot", small_config("ibot"))
    count = jax.device_count()
    random = np.random.default_rng(0)
    images = random.normal(size=(6 * count, *SIZE, 3)).astype(np.float32)
    order = random.permuted(np.tile(np.arange(24), (6 * count, 1)), axis=1)
    encoder, (images, order) = devices.replicate(encoder), devices.shard((images, order))

    def run(encoder, images, order):
        return encoder(images, order=order, blocks=True, attention=True)

    whole = run(encoder, images, order)
    with pieces_of(2 * count * IMAGE):
        assert microbatch.count_pieces(len(images), encoder.config, SIZE, count) == 3
        jax.clear_caches()
        compiled = jax.jit(run).lower(encoder, images, order).compile()
    jax.clear_caches()
    assert " while(" in compiled.as_text()
    assert not exchanges(compiled)
    found = compiled(encoder, images, order)
    assert jax.tree.structure(found) == jax.tree.structure(whole)
    for ours, expected in zip(jax.tree.leaves(found), jax.tree.leaves(whole), strict=True):
        assert ours.sharding.is_equivalent_to(expected.sharding, expected.ndim)
        np.testing.assert_allclose(ours, expected, atol=1e-5)

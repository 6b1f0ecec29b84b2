"""Meshes and processes: shares, the ring, and what compiled programs exchange."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compile_checks import exchanges

from jaxpart import devices
from jaxpart.errors import JaxpartError
from jaxpart.metrics.average_precision import placed, ring_queries


def test_shares_come_back_whole():
    rows = np.arange(devices.round_up(5) * 3, dtype=np.float32).reshape(-1, 3)
    for put in (devices.shard, devices.shard_whole):
        cut = put(rows)
        assert len(cut.sharding.device_set) == jax.device_count()
        np.testing.assert_array_equal(devices.fetch(cut), rows)
    whole = devices.replicate({"a": rows})["a"]
    assert whole.sharding.is_fully_replicated
    assert devices.replicate(whole) is whole


@pytest.mark.slow
def test_ring_is_the_product_with_all_rows():
    rows = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)

    def products(share):
        return devices.ring(lambda keys: share @ keys.T, share)

    found = devices.fetch(devices.on_shares(products)(devices.shard_whole(rows)))
    np.testing.assert_allclose(found, rows @ rows.T, atol=1e-5)


def test_retrieval_passes_keys_on_and_gathers_nothing():
    program = ring_queries.lower(
        devices.shard_whole(np.zeros((64, 16), np.float32)),
        devices.replicate(jnp.zeros(64, jnp.int32)),
        items=61,
        block=8,
        exclude_self=False,
    ).compile()
    assert {kind for kind, _ in exchanges(program)} == {"collective-permute"}


def test_sums_keep_their_dtype():
    counts = np.array([2**40, 1], np.int64)
    np.testing.assert_array_equal(devices.add_up(counts), counts)
    assert list(devices.my_share(7)) == list(range(7))
    assert devices.from_main("runs/é") == "runs/é"
    assert devices.anywhere(np.array([True, False])).tolist() == [True, False]


def test_batches_that_devices_cannot_share_are_refused():
    devices.check_batch(8, "batch_size")
    with pytest.raises(JaxpartError, match="batch_size is 6, which 4 devices cannot share evenly"):
        devices.check_batch(6, "batch_size")


def test_processes_are_named_completely():
    with pytest.raises(JaxpartError, match="--num-processes and --process-id go together"):
        devices.start(coordinator="127.0.0.1:1")


def test_programs_can_be_compiled_for_devices_that_only_are_described():
    features = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    with devices.compiling_for(jax.devices()[:2]):
        assert devices.count() == 2
        (rows, labels), options = placed(features, np.zeros(10, np.int32), exclude_self=False)
        assert isinstance(rows, jax.ShapeDtypeStruct)
        program = ring_queries.lower(rows, labels, **options).compile()
    assert sum(count for count in exchanges(program).values()) == 1
    assert devices.count() == len(jax.devices())


@pytest.mark.parametrize("batch", [8, 6])
def test_dealt_rows_are_taken_from_whoever_has_them(batch):
    rows = np.random.default_rng(0).normal(size=(2, 10, 3)).astype(np.float32)
    sharded = devices.shard_rows(rows.shape, rows.dtype, lambda some: rows[:, some])
    assert {shard.data.shape for shard in sharded.addressable_shards} == {(2, 3, 3)}
    wanted = np.random.default_rng(1).integers(10, size=(1, batch)).astype(np.int32)
    even = batch % devices.count() == 0
    put = devices.shard(wanted, axis=1) if even else devices.replicate(wanted)
    take = jax.jit(lambda array, rows: devices.gather_rows(array, rows, even=even))
    np.testing.assert_array_equal(devices.fetch(take(sharded, put)), rows[:, wanted])


def test_jax_for_tpus_is_no_tpu(monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert not devices._has_tpu()
    assert not devices._launched()

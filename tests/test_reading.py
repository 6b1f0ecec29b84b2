"""Random rows of features, read from their files by several threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpart.features import cache, reading
from jaxpart.features.cache import Cache, Shard
from jaxpart.features.extract import Features

ADDRESS = {"view": "rows"}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Shards of 1, 7 and 5 rows of 96 bytes, one of them in memory."""
    opened = Cache("disk", tmp_path_factory.mktemp("rows"))
    values = np.random.default_rng(0).random((13, 3, 8), np.float32)
    shards = [
        opened.write(ADDRESS, Shard([str(i) for i in range(start, stop)], values[start:stop]))
        for start, stop in ((0, 1), (1, 8))
    ]
    return [*shards, Shard([str(i) for i in range(8, 13)], values[8:])], values


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.integers(0, 12), max_size=30), large=st.booleans())
def test_rows_are_those_asked_for_in_their_order(stored, rows, large):
    shards, values = stored
    features = Features(shards, [str(i) for i in range(13)])
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(reading, "_MIN_ROW_BYTES", 0)
            patch.setattr(reading, "_ROWS_AT_ONCE", 3)
        np.testing.assert_array_equal(features[np.array(rows, np.int64)], values[rows])
        np.testing.assert_array_equal(features[2:11], values[2:11])


def test_rows_of_a_deleted_file_are_still_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_MIN_ROW_BYTES", 0)
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    shard = Cache("disk", tmp_path).write(ADDRESS, Shard(list("abcd"), values))
    for path in tmp_path.rglob("*.safetensors"):
        path.unlink()
    np.testing.assert_array_equal(Features([shard], list("dba"))[:], values[[3, 1, 0]])


def test_a_process_computes_a_checksum_once_until_the_file_changes(tmp_path, monkeypatch):
    opened, values = Cache("disk", tmp_path), np.zeros((4, 3), np.float32)
    opened.write(ADDRESS, Shard(list("abcd"), values))
    computed, crc = [], cache._crc
    monkeypatch.setattr(cache, "_crc", lambda data: computed.append(len(data)) or crc(data))
    opened.read(ADDRESS)
    assert values.nbytes not in computed
    (path,) = tmp_path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    shards, complaints = opened.read(ADDRESS)
    assert not shards
    assert "its rows were changed" in complaints[0]

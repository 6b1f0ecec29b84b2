"""Examples on the wire, against tensorflow-datasets' own protocol buffers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpart.data.tf_example import decode_bytes, encode_example

VALUES = st.one_of(
    st.binary(max_size=300),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(lambda n: np.array(n, np.int64)),
    st.lists(st.booleans(), max_size=5).map(lambda flags: np.array(flags, bool)),
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(max_size=200), VALUES, max_size=4))
def test_examples_are_what_protocol_buffers_read(features):
    pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.proto import tf_example_pb2

    data = encode_example(features)
    example = tf_example_pb2.Example.FromString(data)
    assert set(example.features.feature) == set(features)
    for name, value in features.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            assert list(feature.bytes_list.value) == [value]
        else:
            assert list(feature.int64_list.value) == value.astype(np.int64).tolist()
    expected = {name: value for name, value in features.items() if isinstance(value, bytes)}
    assert decode_bytes(data) == expected
    assert decode_bytes(example.SerializeToString()) == expected


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_bytes_that_are_no_example_are_told(cut):
    data = encode_example({"image": b"x" * 100, "label": np.array([3])})
    with pytest.raises(ValueError, match=r"no tf\.train\.Example|unpack"):
        decode_bytes(data[:-cut])
    with pytest.raises(ValueError, match=r"no tf\.train\.Example"):
        decode_bytes(b"\x08" + data)

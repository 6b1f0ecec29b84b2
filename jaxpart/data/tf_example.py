"""tf.train.Example on the wire, without TensorFlow: the message that tensorflow-datasets stores.

An Example is a map from names to lists of bytes, floats or integers. In protocol buffers' encoding:

    Example  = 1: Features                 Features = 1: entry, repeated
    entry    = 1: name, 2: Feature         Feature  = 1: BytesList | 3: Int64List
    BytesList = 1: bytes, repeated         Int64List = 1: packed varints

Floats are not needed: keypoints are stored as the bytes of their float64 values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

_LENGTH_DELIMITED = 2
_BYTES_LIST, _INT64_LIST = 1, 3


def encode_example(features: Mapping[str, bytes | np.ndarray]) -> bytes:
    """An Example; the same features give the same bytes.

    Args:
      features: By name, one bytes value, or integers or booleans of any shape.
    """
    entries = []
    for name in sorted(features):
        value = features[name]
        if isinstance(value, bytes):
            feature = _field(_BYTES_LIST, _field(1, value))
        else:
            numbers = b"".join(map(_varint, np.asarray(value, np.int64).reshape(-1).tolist()))
            feature = _field(_INT64_LIST, _field(1, numbers))
        entries.append(_field(1, _field(1, name.encode()) + _field(2, feature)))
    return _field(1, b"".join(entries))


def decode_bytes(example: bytes) -> dict[str, bytes]:
    """The features of an Example that are one bytes value each, by name; integers are left out.

    Raises:
      ValueError: It is no Example.
    """
    found = {}
    try:
        for features in _values(memoryview(example), 1):
            for entry in _values(features, 1):
                (name,), (feature,) = _values(entry, 1), _values(entry, 2)
                for value in _values(feature, _BYTES_LIST):
                    (data,) = _values(value, 1)
                    found[bytes(name).decode()] = bytes(data)
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"no tf.train.Example: {error}") from error
    return found


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | _LENGTH_DELIMITED]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers as two's complement
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _values(message: memoryview, number: int) -> Iterator[memoryview]:
    """The length-delimited fields of a message that have a number."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        if tag & 7 != _LENGTH_DELIMITED:
            raise ValueError("no tf.train.Example: a field is of another kind")
        length, at = _read_varint(message, at)
        if at + length > len(message):
            raise ValueError("no tf.train.Example: it is cut off")
        if tag >> 3 == number:
            yield message[at : at + length]
        at += length


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        digit = message[at]
        at += 1
        value |= (digit & 127) << shift
        if digit < 128:
            return value, at
        shift += 7

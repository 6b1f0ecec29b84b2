"""A pickle reader that can build only arrays and inert plain values.

A checkpoint is untrusted input, and ordinary unpickling executes the code that it names. Here names are
never imported: each is looked up in the table below, which maps to builders in this file; any other name
raises before anything runs.

The machine is Python's own, in Python, with a list of operations that may occur: unlike the one in C it
allocates nothing for arbitrary indices in a file. Those that call or hash are replaced, since arbitrary
keys may never terminate or may overflow the stack. Work and memory are proportional to the pickle's length.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pathlib
import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import ml_dtypes  # noqa: F401  # registers the dtypes that NumPy lacks
import numpy as np

from jaxpart.errors import JaxpartError, printable

_DTYPES = (
    "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
    "float8_e5m2fnuz", "complex64", "complex128", "int64", "int32", "int16", "int8", "uint64", "uint32",
    "uint16", "uint8", "bool",
)  # fmt: skip
TORCH_DTYPES: Mapping[str, np.dtype] = {name: np.dtype(name) for name in _DTYPES}

STORAGES: Mapping[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


class Refused(JaxpartError):
    """The pickle holds something that is not data."""


@dataclasses.dataclass(frozen=True)
class Inert:
    """A name in the checkpoint that carries no data: a dtype, a type, a device."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Builder:
    """A function that the pickle may call."""

    build: Callable[..., Any]


class Namespace:
    """An `argparse.Namespace` as data: its attributes are in `values`."""

    values: Mapping[Any, Any] = {}

    def set_state(self, state: Any) -> None:
        """Sets the attributes."""
        self.values = _expect(state, dict, "argparse.Namespace")


class _Dict(dict):
    """OrderedDict or defaultdict; attributes, which PyTorch adds to state dicts, are dropped."""

    def set_state(self, state: Any) -> None:
        pass


class _Dtype:
    """A NumPy dtype under construction."""

    def __init__(self, code: Any, *_: Any) -> None:
        code = _expect(code, str, "numpy.dtype")[:16]
        try:
            self.dtype = np.dtype(code)
        except (TypeError, ValueError, SyntaxError) as error:
            raise Refused(f"it holds the numpy dtype {code!r}, which is unknown") from error
        if self.dtype.hasobject or self.dtype.names:
            raise Refused(f"it holds the numpy dtype {code!r}, which is not plain numbers")

    def set_state(self, state: Any) -> None:
        order = _expect(state, tuple, "numpy.dtype")[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Ndarray:
    """A NumPy array under construction."""

    value: np.ndarray

    def set_state(self, state: Any) -> None:
        _, shape, dtype, fortran, data = _expect(state, tuple, "numpy.ndarray")
        dtype = _expect(dtype, _Dtype, "numpy.ndarray").dtype
        flat = np.frombuffer(_expect(data, bytes, "numpy.ndarray"), dtype)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _expect(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, kind):
        expected = getattr(kind, "__name__", str(kind))
        raise Refused(f"its {where} is built from {type(value).__name__}, not {expected}")
    return value


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Ndarray:
    array = _Ndarray()
    data = bytes(_expect(data, bytes | bytearray, "numpy.ndarray"))
    array.set_state((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: Any, data: Any) -> Any:
    dtype = _expect(dtype, _Dtype, "numpy scalar").dtype
    return np.frombuffer(_expect(data, bytes, "numpy scalar"), dtype, count=1)[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise Refused(
            "it encodes text with a codec other than latin1, which plain data does not need"
        )
    return _expect(text, str, "bytes").encode("latin1")


def _bytearray(*arguments: Any) -> bytes:
    # Never bytearray(n), which would allocate n bytes for any n in the file.
    return (
        _encode(*arguments)
        if arguments and isinstance(arguments[0], str)
        else bytes(_expect(arguments[0], bytes, "bytearray") if arguments else b"")
    )


def _path(*parts: Any) -> pathlib.PurePath:
    return pathlib.PurePosixPath(*(_expect(part, str, "path") for part in parts))


_LONGEST_KEY = 1000
"""Limit in characters, bytes or bits for a key that is converted: the file may refer to it many times."""


def _key(value: Any) -> Any:
    """A key of a dictionary or an item of a set that is hashed in constant time."""
    if isinstance(value, np.generic) and value.nbytes <= _LONGEST_KEY:
        value = value.item()
    if isinstance(value, int) and value.bit_length() <= _LONGEST_KEY:
        # Integers above the hash's modulus can collide on purpose.
        return value if value.bit_length() <= 60 else f"{value:#x}"
    if isinstance(value, str | bytes | float | None | Inert):
        return value
    if isinstance(value, tuple) and len(value) <= 8:
        plain = [str(_key(item)) for item in value if not isinstance(item, tuple)]
        if sum(map(len, plain)) <= _LONGEST_KEY:
            return f"({', '.join(plain)})"
    raise Refused(f"it uses a {type(value).__name__} as a key, which plain data does not need")


def _items(kind: type) -> Callable[..., Any]:
    def build(items: Any = ()) -> Any:
        if not isinstance(items, list | tuple | set | frozenset):
            raise Refused(f"its {kind.__name__} is built from {type(items).__name__}")
        return kind(items if kind is tuple else map(_key, items))

    return build


def _numbers(kind: type) -> Callable[..., Any]:
    def build(*numbers: Any) -> Any:
        if not all(isinstance(n, int | float | type(None)) for n in numbers):
            raise Refused(f"its {kind.__name__} is not built from numbers")
        return kind(*numbers)

    return build


def _ordered_dict(items: Any = ()) -> _Dict:
    pairs = (
        _expect(pair, list | tuple, "OrderedDict")
        for pair in _expect(items, list | tuple, "OrderedDict")
    )
    return _Dict((_key(key), value) for key, value in pairs)


def _other_dict(*arguments: Any) -> _Dict:
    """A defaultdict, whose factory is dropped, or a Counter."""
    return _Dict(*(argument for argument in arguments if isinstance(argument, dict)))


def _reconstructor(kind: Any, base: Any, state: Any) -> Any:
    if kind != _BUILDERS["argparse.Namespace"]:
        raise Refused("it rebuilds an object other than an argparse.Namespace")
    return Namespace()


@dataclasses.dataclass(frozen=True)
class Storage:
    """Bytes of tensors (None: not needed), with their dtype in the file (None: untyped)."""

    data: np.ndarray | None
    dtype: np.dtype | None


_REPEATED = 1 << 16
"""Limit for the elements of a tensor that is larger than its storage, as after `expand`."""


def _tensor(storage: Any, dtype: np.dtype, offset: Any, size: Any, stride: Any) -> Any:
    flat = _expect(storage, Storage, "tensor").data
    size, stride = (_expect(v, tuple, "tensor size") for v in (size, stride))
    numbers = (offset, *size, *stride)
    plain = all(type(n) is int and 0 <= n < 1 << 62 for n in numbers) and len(size) == len(stride)
    if not plain or len(size) > 32:
        raise Refused("it holds a tensor whose size, stride or offset is not made of whole numbers")
    if flat is None:
        return None
    values = flat[: flat.size // dtype.itemsize * dtype.itemsize].view(dtype)
    count = math.prod(size)
    if count == 0:
        return np.empty(size, dtype)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if last >= values.size or count > max(values.size, _REPEATED):
        raise Refused(
            f"it holds a tensor of shape {list(size[:6])} that reaches beyond the {values.size} values "
            f"stored"
        )
    steps = tuple(s * dtype.itemsize for s in stride)
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False)


def _check_metadata(metadata: Any) -> None:
    if metadata:  # {"neg": True}, {"conj": True}: the values are stored with another sign
        raise Refused("it holds a tensor that is a negative or conjugate view; save its clone()")


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
) -> Any:
    _check_metadata(metadata)
    dtype = _expect(storage, Storage, "tensor").dtype
    if dtype is None:
        raise Refused("it holds a tensor of an untyped storage without a dtype")
    return _tensor(storage, dtype, offset, size, stride)


def _rebuild_tensor_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Any:
    _check_metadata(metadata)
    name = _expect(dtype, Inert, "tensor dtype").name.removeprefix("torch.")
    if name not in TORCH_DTYPES:
        raise Refused(f"it holds a tensor of dtype {name}, which has no array counterpart")
    return _tensor(storage, TORCH_DTYPES[name], offset, size, stride)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return _expect(data, np.ndarray | None, "Parameter")


def _rebuild_from_type(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """A tensor with Python attributes, which are dropped."""
    build = _expect(function, _Builder, "tensor").build
    if build not in (_rebuild_tensor, _rebuild_tensor_v3, _rebuild_parameter):
        raise Refused("it rebuilds a tensor by something else than its data")
    return build(*_expect(arguments, tuple, "tensor"))


def _inert(name: str) -> Callable[..., Inert]:
    return lambda *_: Inert(name)


def _builders() -> dict[str, Any]:
    table: dict[str, Any] = {
        "argparse.Namespace": Namespace,
        "collections.Counter": _other_dict,
        "collections.OrderedDict": _ordered_dict,
        "collections.defaultdict": _other_dict,
        "copyreg._reconstructor": _reconstructor,
        "copy_reg._reconstructor": _reconstructor,
        "_codecs.encode": _encode,
        "torch.Size": _items(tuple),
        "torch.Tensor": Inert("torch.Tensor"),
        "torch.device": _inert("torch.device"),
        "torch.torch_version.TorchVersion": _inert("torch.torch_version.TorchVersion"),
        "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
        "torch.storage.UntypedStorage": Inert("torch.UntypedStorage"),
        "numpy.dtype": _Dtype,
        "numpy.ndarray": Inert("numpy.ndarray"),
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray._reconstruct"] = lambda *_: _Ndarray()
        table[f"{core}.multiarray.scalar"] = _scalar
        table[f"{core}.numeric._frombuffer"] = _frombuffer
    for name in ("date", "datetime", "timedelta", "timezone"):
        table[f"datetime.{name}"] = _inert(f"datetime.{name}")
    for name in STORAGES:
        table[f"torch.{name}"] = Inert(name)
    for name in TORCH_DTYPES:
        table[f"torch.{name}"] = Inert(f"torch.{name}")
    for module in ("builtins", "__builtin__"):
        table[f"{module}.set"], table[f"{module}.frozenset"] = _items(set), _items(frozenset)
        for name, build in {"slice": slice, "complex": complex, "range": range}.items():
            table[f"{module}.{name}"] = _numbers(build)
        table[f"{module}.xrange"] = _numbers(range)
        table[f"{module}.bytearray"] = _bytearray
        for name in ("int", "float", "str", "bool", "bytes", "list", "dict", "tuple", "object"):
            table[f"{module}.{name}"] = Inert(name)
    for module in ("pathlib", "pathlib._local"):
        for name in ("Path", "PosixPath", "WindowsPath"):
            table[f"{module}.{name}"] = table[f"{module}.Pure{name}"] = _path
    return {k: v if isinstance(v, Inert) else _Builder(v) for k, v in table.items()}


_BUILDERS = _builders()


_SHARED = (
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "BINPUT", "LONG_BINPUT",
    "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT",
    "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "LIST",
    "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "APPEND", "APPENDS", "GLOBAL", "STACK_GLOBAL", "INST",
    "OBJ", "BINPERSID",
)  # fmt: skip
"""Operations of Python's own machine, in Python, that hash nothing and allocate what they read."""


_COPIES = 16
"""Limit for what calls may copy, in file sizes: each may refer to the same long text, bytes or list."""


def _copied(argument: Any) -> int:
    """Bytes that a call with an argument may copy; an item of a container takes more than a character."""
    if isinstance(argument, list | tuple | dict | set | frozenset):
        return _COPIES * len(argument)
    return len(argument) if isinstance(argument, str | bytes) else 0


class RestrictedUnpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Reads one pickle of a PyTorch checkpoint; `storage(key, count, dtype)` returns the tensors' bytes.

    `count` is the number of values and `dtype` their type, None if the file does not state it.
    """

    stack: list[Any]
    memo: dict[int, Any]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(
        self,
        file: Any,
        storage: Callable[[str, int, np.dtype | None], np.ndarray | None],
    ) -> None:
        """Reads nothing yet; `file` is a pickle of protocol 0 to 5, which is read up to its end."""
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self._storage = storage
        start = file.tell()
        file.seek(0, io.SEEK_END)
        self._allowance = _COPIES * (file.tell() - start + 1000)
        file.seek(start)

    def load(self) -> Any:
        """Reads the pickle into plain containers, arrays and `Inert` names.

        Raises:
          JaxpartError: It holds more than data.
          Exception: It is damaged, or holds an operation that no data needs.
        """
        return finished(super().load())

    def find_class(self, module: str, name: str) -> Any:
        """The builder of a name. Raises `Refused` for unknown names."""
        name = f"{module}.{name}"
        if name not in _BUILDERS:
            raise Refused(
                f"it asks for {printable(name)}, which is not data; none of it was run (if it is a whole "
                f"model of yours, save its state_dict() instead)"
            )
        return _BUILDERS[name]

    def _instantiate(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, _Builder):
            raise Refused(f"it calls a {type(function).__name__}, which plain data does not")
        arguments = _expect(arguments, list | tuple, "call")
        self._allowance -= sum(map(_copied, arguments))
        if self._allowance < 0:
            raise Refused("it copies the same values again and again, which plain data does not")
        self.stack.append(function.build(*arguments))

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self._instantiate(self.stack.pop(), arguments)

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, Namespace | _Dict | _Dtype | _Ndarray):
            kind = type(target).__name__.strip("_")
            raise Refused(f"it changes the attributes of a {kind}, which plain data does not")
        target.set_state(state)

    def _put(self) -> None:
        index = int(self.readline())
        if not 0 <= index < 1 << 60:  # larger ones can collide on purpose
            raise Refused("it numbers its values arbitrarily, which plain data does not need")
        self.memo[index] = self.stack[-1]

    def _bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.stack.append(self.read(length))

    def _set(self, values: list[Any]) -> None:
        target = _expect(self.stack[-1], dict, "dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_key(key)] = value

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _dict(self) -> None:
        values = self.pop_mark()
        self.stack.append({})
        self._set(values)

    def _additems(self) -> None:
        values = self.pop_mark()
        _expect(self.stack[-1], set, "set").update(map(_key, values))

    def _frozenset(self) -> None:
        values = self.pop_mark()
        self.stack.append(frozenset(map(_key, values)))

    def persistent_load(self, pid: Any) -> Storage:
        """The storage of a tensor."""
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
            raise Refused("it has a persistent id that is not a tensor's storage")
        kind, key, _location, count = pid[1:5]
        name = _expect(kind, Inert, "storage").name
        dtype = None if name == "torch.UntypedStorage" else TORCH_DTYPES.get(STORAGES.get(name, ""))
        if dtype is None and name != "torch.UntypedStorage":
            raise Refused(f"it holds a storage of type {name}, which has no array counterpart")
        if len(pid) == 6 and pid[5] is not None:
            raise Refused("it holds a view of a storage, as written by PyTorch before 0.4")
        key, count = _expect(key, str, "storage key"), _expect(count, int, "storage size")
        return Storage(self._storage(key, count, dtype), dtype)

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{
            code: pickle._Unpickler.dispatch[code]  # type: ignore[attr-defined]
            for code in (getattr(pickle, name)[0] for name in _SHARED)
        },
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _reduce,
        pickle.BUILD[0]: _build,
        pickle.PUT[0]: _put,
        pickle.BYTEARRAY8[0]: _bytearray8,
        pickle.SETITEM[0]: _setitem,
        pickle.SETITEMS[0]: lambda self: self._set(self.pop_mark()),
        pickle.DICT[0]: _dict,
        pickle.ADDITEMS[0]: _additems,
        pickle.FROZENSET[0]: _frozenset,
    }


_MAX_DEPTH = 64


def finished(value: Any) -> Any:
    """Replaces values under construction with plain containers and arrays; shared values stay shared."""
    results: dict[int, Any] = {}
    alive: list[Any] = []  # keeps objects alive, so that ids stay unique

    def finish(value: Any, depth: int) -> Any:
        if isinstance(value, _Ndarray | _Dtype):
            return value.value if isinstance(value, _Ndarray) else value.dtype
        if not isinstance(value, dict | list | tuple | Namespace):
            return value
        if id(value) in results:
            if results[id(value)] is _OPEN:
                raise Refused("it holds a container that contains itself")
            return results[id(value)]
        if depth > _MAX_DEPTH:
            raise Refused("it is nested too deeply to be a checkpoint")
        results[id(value)] = _OPEN
        alive.append(value)
        items = value.values if isinstance(value, Namespace) else value
        if isinstance(items, Mapping):
            new: Any = {key: finish(item, depth + 1) for key, item in items.items()}
        else:
            new = type(items)(finish(item, depth + 1) for item in items)
        results[id(value)] = new
        return new

    return finish(value, 0)


_OPEN = object()

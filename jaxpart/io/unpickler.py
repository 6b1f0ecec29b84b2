"""A pickle reader that can build only arrays and inert plain values.

A checkpoint is untrusted input, and ordinary unpickling executes the code that it names. Here names are
never imported: each is looked up in the table below, which maps to builders in this file; any other name
raises before anything runs.

We also implement the pickle machine ourselves, since Python's allocates memory for arbitrary indices in a
file, and hashes arbitrary keys, which may never terminate or may overflow the stack. Work and memory here
are proportional to the pickle's length.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any

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


def _key(value: Any) -> Any:
    """A key of a dictionary or an item of a set that is hashed in constant time."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and abs(value) >> 60:
        return f"{value:#x}"  # integers above the hash's modulus can collide on purpose
    if isinstance(value, str | bytes | int | float | None | Inert):
        return value
    if isinstance(value, tuple) and len(value) <= 8:
        plain = [_key(item) for item in value if not isinstance(item, tuple)]
        return f"({', '.join(map(str, plain))})"
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


def _default_dict(factory: Any = None, items: Any = ()) -> _Dict:
    return _Dict(_expect(items, dict, "defaultdict")) if items else _Dict()


def _counter(items: Any = ()) -> _Dict:
    return _Dict(_expect(items, dict, "Counter")) if items else _Dict()


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
        "collections.Counter": _counter,
        "collections.OrderedDict": _ordered_dict,
        "collections.defaultdict": _default_dict,
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


_NO_STORAGE = "it has a persistent id that is not a tensor's storage"


class RestrictedUnpickler:
    """Reads one pickle of a PyTorch checkpoint; `storage(key, count, dtype)` returns the tensors' bytes.

    `count` is the number of values and `dtype` their type, None if the file does not state it.
    """

    def __init__(
        self,
        file: IO[bytes],
        storage: Callable[[str, int, np.dtype | None], np.ndarray | None],
    ) -> None:
        """Reads nothing yet; `file` is a pickle of protocol 0 to 5."""
        self._file, self._storage = file, storage
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Reads the pickle into plain containers, arrays and `Inert` names, and `file` up to its end.

        Raises:
          JaxpartError: It holds more than data.
        """
        for operation, argument, _ in pickletools.genops(self._file):
            name = operation.name
            if name in _PUSHED:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name]())
            elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                self._memo[int(argument or 0)] = self._stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                self._stack.append(self._memo[int(argument or 0)])
            elif name == "STOP":
                return finished(self._stack.pop())
            elif name not in ("PROTO", "FRAME"):
                method = getattr(self, f"_op_{name.lower()}", None)
                if method is None:
                    raise Refused(f"it holds the pickle operation {name}, which no data needs")
                method(argument)
        raise Refused("its pickle has no end")

    def _pop_last(self, count: int) -> list[Any]:
        """Pops the last values from the stack."""
        values = self._stack[-count:]
        if len(values) < count:
            raise Refused("its pickle takes more values than it holds")
        del self._stack[-count:]
        return values

    def _since_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._marks.pop()
        return values

    def _op_mark(self, _: Any) -> None:
        if len(self._marks) > 10 * _MAX_DEPTH:
            raise Refused("it is nested too deeply to be a checkpoint")
        self._marks.append(self._stack)
        self._stack = []

    def _op_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _op_pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _op_pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _op_dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _op_int(self, value: int) -> None:
        if value.bit_length() > _MAX_BITS:
            raise Refused(f"it holds an integer of {value.bit_length()} bits")
        self._stack.append(value)

    _op_long = _op_long1 = _op_long4 = _op_int

    def _op_binstring(self, text: str) -> None:
        self._stack.append(text.encode("latin1").decode("utf-8", "surrogateescape"))

    _op_short_binstring = _op_binstring

    def _op_bytearray8(self, data: bytearray) -> None:
        self._stack.append(bytes(data))

    def _op_tuple1(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_last(1)))

    def _op_tuple2(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_last(2)))

    def _op_tuple3(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_last(3)))

    def _op_tuple(self, _: Any) -> None:
        values = self._since_mark()
        self._stack.append(tuple(values))

    def _op_list(self, _: Any) -> None:
        values = self._since_mark()
        self._stack.append(values)

    def _op_dict(self, _: Any) -> None:
        values = self._since_mark()
        self._stack.append({})
        self._put(values)

    def _op_frozenset(self, _: Any) -> None:
        values = self._since_mark()
        self._stack.append(frozenset(map(_key, values)))

    def _op_append(self, _: Any) -> None:
        (value,) = self._pop_last(1)
        _expect(self._stack[-1], list, "list").append(value)

    def _op_appends(self, _: Any) -> None:
        values = self._since_mark()
        _expect(self._stack[-1], list, "list").extend(values)

    def _op_additems(self, _: Any) -> None:
        values = self._since_mark()
        _expect(self._stack[-1], set, "set").update(map(_key, values))

    def _put(self, values: list[Any]) -> None:
        target = _expect(self._stack[-1], dict, "dictionary")
        if len(values) % 2:
            raise Refused("it holds a dictionary with a key that has no value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_key(key)] = value

    def _op_setitem(self, _: Any) -> None:
        self._put(self._pop_last(2))

    def _op_setitems(self, _: Any) -> None:
        self._put(self._since_mark())

    def _lookup(self, name: str) -> Any:
        """The builder of a name. Raises `Refused` for unknown names."""
        if name not in _BUILDERS:
            raise Refused(
                f"it asks for {printable(name)}, which is not data; none of it was run (if it is a whole "
                f"model of yours, save its state_dict() instead)"
            )
        return _BUILDERS[name]

    def _op_global(self, names: str) -> None:
        self._stack.append(self._lookup(names.replace(" ", ".", 1)))

    def _op_stack_global(self, _: Any) -> None:
        module, name = (_expect(part, str, "name") for part in self._pop_last(2))
        self._stack.append(self._lookup(f"{module}.{name}"))

    def _op_inst(self, names: str) -> None:
        self._call(self._lookup(names.replace(" ", ".", 1)), self._since_mark())

    def _op_obj(self, _: Any) -> None:
        function, *arguments = self._since_mark()
        self._call(function, arguments)

    def _op_reduce(self, _: Any) -> None:
        function, arguments = self._pop_last(2)
        self._call(function, _expect(arguments, tuple, "call"))

    _op_newobj = _op_reduce

    def _call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, _Builder):
            raise Refused(f"it calls a {type(function).__name__}, which plain data does not")
        self._stack.append(function.build(*arguments))

    def _op_build(self, _: Any) -> None:
        (state,) = self._pop_last(1)
        target = self._stack[-1]
        if not isinstance(target, Namespace | _Dict | _Dtype | _Ndarray):
            kind = type(target).__name__.strip("_")
            raise Refused(f"it changes the attributes of a {kind}, which plain data does not")
        target.set_state(state)

    def _op_binpersid(self, _: Any) -> None:
        (pid,) = self._pop_last(1)
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
            raise Refused(_NO_STORAGE)
        kind, key, _location, count = pid[1:5]
        name = _expect(kind, Inert, "storage").name
        dtype = None if name == "torch.UntypedStorage" else TORCH_DTYPES.get(STORAGES.get(name, ""))
        if dtype is None and name != "torch.UntypedStorage":
            raise Refused(f"it holds a storage of type {name}, which has no array counterpart")
        if len(pid) == 6 and pid[5] is not None:
            raise Refused("it holds a view of a storage, as written by PyTorch before 0.4")
        key, count = _expect(key, str, "storage key"), _expect(count, int, "storage size")
        self._stack.append(Storage(self._storage(key, count, dtype), dtype))


_PUSHED = (
    "BININT", "BININT1", "BININT2", "BINFLOAT", "FLOAT", "STRING", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
)  # fmt: skip
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_MAX_BITS = 4096
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

"""A pickle reader that can build nothing but arrays and inert plain values.

A checkpoint is untrusted input: unpickling it the ordinary way runs whatever it names. Here no name
of the pickle is ever resolved: each is looked up in the table below, which holds this file's own
builders, so that hostile opcodes have no real callable at hand. What is not in the table is refused
by name before anything runs.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any

import ml_dtypes
import numpy as np

from jaxpart.errors import JaxpartError

TORCH_DTYPES: Mapping[str, np.dtype] = {
    name: np.dtype(kind)
    for name, kind in {
        "float64": np.float64,
        "float32": np.float32,
        "float16": np.float16,
        "bfloat16": ml_dtypes.bfloat16,
        "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
        "float8_e5m2": ml_dtypes.float8_e5m2,
        "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
        "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
        "complex64": np.complex64,
        "complex128": np.complex128,
        "int64": np.int64,
        "int32": np.int32,
        "int16": np.int16,
        "int8": np.int8,
        "uint64": np.uint64,
        "uint32": np.uint32,
        "uint16": np.uint16,
        "uint8": np.uint8,
        "bool": np.bool_,
    }.items()
}

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
    """The pickle asks for something that is not data."""


@dataclasses.dataclass(frozen=True)
class Inert:
    """Something that the checkpoint names and that carries no data: a dtype, a type, a device."""

    name: str

    def __setstate__(self, state: Any) -> None:
        """Refuses to be changed by the file: it is shared by all of them."""
        raise Refused(f"it changes the attributes of {self.name}, which plain data does not")


class _Builder:
    """A callable that the file can call and not change, unlike a function, whose defaults it could."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *arguments: Any) -> Any:
        return self._build(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise Refused("it changes the attributes of a function, which plain data does not")


class Namespace:
    """An `argparse.Namespace` as data: its attributes lie in `values` and nowhere else."""

    values: Mapping[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        """Takes the attributes."""
        self.values = _expect(state, dict, "argparse.Namespace")


class _Dict(dict):
    """OrderedDict and defaultdict; the attributes that PyTorch hangs on a state dict are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Dtype:
    """A numpy dtype while it is read."""

    def __init__(self, code: Any, *_: Any) -> None:
        code = _expect(code, str, "numpy.dtype")
        try:
            self.dtype = np.dtype(code)
        except (TypeError, ValueError, SyntaxError) as error:
            raise Refused(f"it holds the numpy dtype {code!r}, which is unknown") from error
        if self.dtype.hasobject or self.dtype.names:
            raise Refused(f"it holds the numpy dtype {code!r}, which is not plain numbers")

    def __setstate__(self, state: Any) -> None:
        order = _expect(state, tuple, "numpy.dtype")[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Ndarray:
    """A numpy array while it is read."""

    value: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = _expect(state, tuple, "numpy.ndarray")
        dtype = _expect(dtype, _Dtype, "numpy.ndarray").dtype
        flat = np.frombuffer(_expect(data, bytes, "numpy.ndarray"), dtype)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _expect(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", str(kind))
        raise Refused(f"its {where} is built from {type(value).__name__}, not {wanted}")
    return value


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Ndarray:
    array = _Ndarray()
    data = bytes(_expect(data, bytes | bytearray, "numpy.ndarray"))
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: Any, data: Any) -> Any:
    dtype = _expect(dtype, _Dtype, "numpy scalar").dtype
    return np.frombuffer(_expect(data, bytes, "numpy scalar"), dtype, count=1)[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"it encodes text as {encoding!r}, which only plain data does not need")
    return _expect(text, str, "bytes").encode("latin1")


def _bytearray(*arguments: Any) -> bytes:
    # Never bytearray(n), which would take n bytes for an n of the file's choosing.
    return (
        _encode(*arguments)
        if arguments and isinstance(arguments[0], str)
        else bytes(_expect(arguments[0], bytes, "bytearray") if arguments else b"")
    )


def _path(*parts: Any) -> pathlib.PurePath:
    return pathlib.PurePosixPath(*(_expect(part, str, "path") for part in parts))


def _items(kind: type) -> Callable[..., Any]:
    def build(items: Any = ()) -> Any:
        if not isinstance(items, list | tuple | set | frozenset):
            raise Refused(f"its {kind.__name__} is built from {type(items).__name__}")
        return kind(items)

    return build


def _numbers(kind: type) -> Callable[..., Any]:
    def build(*numbers: Any) -> Any:
        if not all(isinstance(n, int | float | type(None)) for n in numbers):
            raise Refused(f"its {kind.__name__} is not built from numbers")
        return kind(*numbers)

    return build


def _ordered_dict(items: Any = ()) -> _Dict:
    return _Dict(tuple(pair) for pair in _expect(items, list | tuple, "OrderedDict"))  # type: ignore[arg-type]


def _default_dict(factory: Any = None, items: Any = ()) -> _Dict:
    return _Dict(items)


def _reconstructor(kind: Any, base: Any, state: Any) -> Any:
    if kind is not Namespace:
        raise Refused("it rebuilds an object other than an argparse.Namespace")
    return Namespace()


@dataclasses.dataclass(frozen=True)
class Storage:
    """Bytes that tensors are views of, with the dtype that the file gives them (None: untyped)."""

    data: np.ndarray
    dtype: np.dtype | None


def _tensor(storage: Any, dtype: np.dtype, offset: Any, size: Any, stride: Any) -> np.ndarray:
    flat = _expect(storage, Storage, "tensor").data
    size, stride = (_expect(v, tuple, "tensor size") for v in (size, stride))
    numbers = (offset, *size, *stride)
    plain = all(type(n) is int and n >= 0 for n in numbers) and len(size) == len(stride)
    if not plain or len(size) > 32:
        raise Refused("it holds a tensor whose size, stride or offset is not made of whole numbers")
    values = flat[: flat.size // dtype.itemsize * dtype.itemsize].view(dtype)
    if math.prod(size) == 0:
        return np.empty(size, dtype)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if last >= values.size:
        raise Refused(
            f"it holds a tensor of shape {size} that reaches beyond the {values.size} values stored"
        )
    steps = tuple(s * dtype.itemsize for s in stride)
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    dtype = _expect(storage, Storage, "tensor").dtype
    if dtype is None:
        raise Refused("it holds a tensor of an untyped storage without a dtype")
    return _tensor(storage, dtype, offset, size, stride)


def _rebuild_tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> np.ndarray:
    name = _expect(dtype, Inert, "tensor dtype").name.removeprefix("torch.")
    if name not in TORCH_DTYPES:
        raise Refused(f"it holds a tensor of dtype {name}, which has no array counterpart")
    return _tensor(storage, TORCH_DTYPES[name], offset, size, stride)


def _rebuild_parameter(data: Any, *_: Any) -> np.ndarray:
    return _expect(data, np.ndarray, "Parameter")


def _device(*arguments: Any) -> Inert:
    return Inert(f"torch.device{arguments}")


def _builders() -> dict[str, Any]:
    table: dict[str, Any] = {
        "argparse.Namespace": Namespace,
        "collections.OrderedDict": _ordered_dict,
        "collections.defaultdict": _default_dict,
        "copyreg._reconstructor": _reconstructor,
        "_codecs.encode": _encode,
        "torch.Size": _items(tuple),
        "torch.device": _device,
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
    # Classes stay as they are: creating an object of one (NEWOBJ) takes a class.
    kept = (Inert, type)
    return {k: v if isinstance(v, kept) else _Builder(v) for k, v in table.items()}


_BUILDERS = _builders()


class RestrictedUnpickler(pickle.Unpickler):
    """Reads the pickle of a PyTorch checkpoint; tensors' bytes come from `storage(key)`."""

    def __init__(self, file: IO[bytes], storage: Callable[[str], np.ndarray]) -> None:
        """Reads from `file`, a protocol 0 to 5 pickle."""
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """This file's builder for a name. Raises `Refused` for any other."""
        try:
            return _BUILDERS[f"{module}.{name}"]
        except KeyError:
            raise Refused(
                f"it asks for {module}.{name}, which is not data; nothing of it was run"
            ) from None

    def persistent_load(self, pid: Any) -> Storage:
        """The storage that a tensor refers to."""
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
            raise Refused("it refers to something outside that is not a tensor's storage")
        name = _expect(pid[1], Inert, "storage").name
        dtype = None if name == "torch.UntypedStorage" else TORCH_DTYPES.get(STORAGES.get(name, ""))
        if dtype is None and name != "torch.UntypedStorage":
            raise Refused(f"it holds a storage of type {name}, which has no array counterpart")
        return Storage(self._storage(_expect(pid[2], str, "storage key")), dtype)


def finished(value: Any, _open: frozenset[int] = frozenset()) -> Any:
    """A read value with plain containers and arrays in place of what was needed to read it."""
    if not isinstance(value, dict | list | tuple | _Ndarray | _Dtype | Namespace):
        return value
    if isinstance(value, _Ndarray):
        return value.value
    if isinstance(value, _Dtype):
        return value.dtype
    if id(value) in _open:
        raise Refused("it holds a container that contains itself")
    inside = _open | {id(value)}
    if isinstance(value, Namespace):
        return {key: finished(item, inside) for key, item in value.values.items()}
    if isinstance(value, dict):
        return {key: finished(item, inside) for key, item in value.items()}
    return type(value)(finished(item, inside) for item in value)

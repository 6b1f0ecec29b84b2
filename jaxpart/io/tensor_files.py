"""Safe reading of PyTorch, safetensors and NumPy checkpoints, without PyTorch."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import math
import mmap
import pathlib
import re
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from jaxpart.errors import JaxpartError, printable
from jaxpart.io.text import decode_json
from jaxpart.io.unpickler import RestrictedUnpickler

_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_NUMPY_MAGIC = b"\x93NUMPY"
_OTHER_FORMATS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run `git lfs pull`",
    b"<": "a web page, not a checkpoint; the download was probably an error page, download it again",
    b"\x1f\x8b": "a gzip file; unpack it first",
}
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")
_MAX_HEADER = 32 << 20
_MAX_TENSORS = 100_000
_MAX_PACKED = 10
"""Limit for the compression ratio of a file: weights hardly compress."""
_SLACK = 1 << 20
_SAFE_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file with its tensors as arrays.

    Attributes:
      path: The file.
      contents: Nested dictionaries, lists and plain values. Tensors are read-only memory-mapped arrays.
      mapped: The memory maps of the file or its shards.
      size: Its size in bytes, uncompressed.
    """

    path: pathlib.Path
    contents: Any
    mapped: tuple[mmap.mmap, ...] = ()
    size: int = 0

    def release(self) -> None:
        """Frees the memory of arrays that were read; they are read again on access."""
        for mapped in self.mapped if hasattr(mmap, "MADV_DONTNEED") else ():
            mapped.madvise(mmap.MADV_DONTNEED)

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the whole file (of a sharded checkpoint: of its index), as hex digits."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def open_checkpoint(path: str | pathlib.Path) -> Checkpoint:
    """Opens a `.pth`, `.pth.tar`, `.bin`, `.safetensors`, `.npz` or `.npy` file, recognised by content.

    The index of a sharded checkpoint (`model.safetensors.index.json`) opens its shards. Nothing in a file
    is executed, see `jaxpart/io/unpickler.py`, and work and memory are bounded by a small multiple of its
    size.

    Raises:
      JaxpartError: The file is missing, damaged, of an unsupported kind, or holds more than data.
    """
    path = pathlib.Path(path)
    shown_path = printable(str(path), 120)
    try:
        if not path.is_file():
            fault = "is a folder" if path.is_dir() else "does not exist"
            raise JaxpartError(f"{shown_path} {fault}; give the checkpoint file")
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise JaxpartError(f"{shown_path} cannot be read: {error.strerror}") from error
    if not head:
        raise JaxpartError(f"{shown_path} is empty; download it again")
    try:
        return _open(path, head)
    except JaxpartError as error:
        raise JaxpartError(f"{shown_path}: {error}") from None
    except Exception as error:  # hostile or damaged bytes raise many types in zip, pickle and numpy
        reason = printable(f"{type(error).__name__}: {error}", 80)
        raise JaxpartError(
            f"{shown_path} is damaged or not a checkpoint ({reason}); download it again"
        ) from error


def _open(path: pathlib.Path, head: bytes) -> Checkpoint:
    if head.startswith(b"PK"):
        return _read_zip(path)
    if _LEGACY_MAGIC in head:
        return _read_legacy(path)
    if _is_safetensors(path, head):
        return _read_safetensors(path)
    if head.startswith(_NUMPY_MAGIC):
        mapped, file_bytes = _mapped(path)
        return Checkpoint(path, _npy(file_bytes), (mapped,), file_bytes.size)
    if head.lstrip().startswith(b"{"):
        return _read_index(path)
    for magic, kind in _OTHER_FORMATS.items():
        if head.lstrip().startswith(magic):
            raise JaxpartError(f"it is {kind}")
    if head[257:262] == b"ustar" or (b"\x00" * 16 in head[16:] and head[:8].isascii()):
        raise JaxpartError("it is a tar archive or damaged; give the checkpoint inside")
    if head[:1] == b"\x80":
        raise JaxpartError(
            "it is a plain pickle, not a file that torch.save wrote; it is not opened"
        )
    raise JaxpartError("it is neither a PyTorch, a safetensors nor a numpy file; download it again")


def _mapped(path: pathlib.Path) -> tuple[mmap.mmap, np.ndarray]:
    """The memory map of a file, also as an array of bytes."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return mapped, np.frombuffer(mapped, np.uint8)


def _is_safetensors(path: pathlib.Path, head: bytes) -> bool:
    (length,) = struct.unpack("<Q", head[:8].ljust(8, b"\xff"))
    return head[8:9] == b"{" and length <= path.stat().st_size - 8


def _read_safetensors(path: pathlib.Path) -> Checkpoint:
    """The library checks the header, but does not expose the arrays' offsets, so we parse them."""
    from safetensors import safe_open

    mapped, file_bytes = _mapped(path)
    length = int(file_bytes[:8].view("<u8")[0])
    if length > _MAX_HEADER:
        raise JaxpartError(f"its header has {length} bytes, more than any real encoder's")
    with safe_open(path, "numpy") as file:
        names = set(file.keys())
    header = json.loads(file_bytes[8 : 8 + length].tobytes(), object_pairs_hook=_unique)
    if len(names) > _MAX_TENSORS:
        raise JaxpartError(f"it holds {len(names)} arrays, more than any encoder")
    contents = {}
    for name in names & header.keys():
        begin, end = header[name]["data_offsets"]
        kind = header[name]["dtype"]
        if kind not in _SAFE_DTYPES:
            raise JaxpartError(
                f"it holds {printable(name)} of dtype {printable(kind)}, which has no array counterpart"
            )
        values = file_bytes[8 + length + begin : 8 + length + end]
        contents[name] = values.view(np.dtype(_SAFE_DTYPES[kind])).reshape(header[name]["shape"])
    order = {name: i for i, name in enumerate(header)}
    ordered = sorted(contents, key=lambda name: order[name])
    return Checkpoint(path, {name: contents[name] for name in ordered}, (mapped,), file_bytes.size)


def metadata_ids(path: pathlib.Path) -> Any:
    """The JSON value of "ids" in the metadata of a safetensors file; None if there is none.

    Raises:
      JaxpartError: It is not a safetensors file, or the ids are not JSON.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            text = (file.metadata() or {}).get("ids", "null")
    except SafetensorError as error:
        raise JaxpartError(f"{path} is not a safetensors file ({error}); write it again") from error
    return decode_json(text.encode(), f"{path} (ids)", "write it again")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise JaxpartError("two of its entries have the same name")
    return entries


def _read_index(path: pathlib.Path) -> Checkpoint:
    """A sharded checkpoint from its index: {"weight_map": {array: file beside it}}."""
    if path.stat().st_size > _MAX_HEADER:
        raise JaxpartError("it is a text file too large for an index")
    try:
        index = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
        shard_of = index["weight_map"]
        is_index = all(isinstance(file, str) for file in shard_of.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_index = False
    if not is_index:
        raise JaxpartError("it is JSON, but not the index of a sharded checkpoint (no weight_map)")
    shards: dict[str, Checkpoint] = {}
    for file in dict.fromkeys(shard_of.values()):
        if file != pathlib.PurePosixPath(file).name or "\\" in file or file == path.name:
            raise JaxpartError(f"its shard {printable(file)} is not a file beside it")
        if len(shards) >= 1000:
            raise JaxpartError("it names more than 1000 shards")
        shards[file] = _open_shard(path.parent / file)
    contents = {}
    for name, file in shard_of.items():
        if name not in shards[file].contents:
            raise JaxpartError(
                f"its shard {printable(file)} lacks {printable(name)}, which the index lists; download "
                "that shard again"
            )
        contents[name] = shards[file].contents[name]
    mapped = tuple(m for shard in shards.values() for m in shard.mapped)
    return Checkpoint(path, contents, mapped, sum(shard.size for shard in shards.values()))


def _open_shard(path: pathlib.Path) -> Checkpoint:
    if not path.is_file():
        raise JaxpartError(
            f"its shard {printable(path.name)} is missing beside it; download that too"
        )
    with path.open("rb") as file:
        head = file.read(64)
    if head.lstrip().startswith(b"{"):
        raise JaxpartError(f"its shard {printable(path.name)} is an index itself")
    shard = _open(path, head)
    if not isinstance(shard.contents, dict):
        raise JaxpartError(f"its shard {printable(path.name)} is not a dictionary of tensors")
    return shard


def shard_of(path: pathlib.Path) -> str:
    """Advice on a file that is one shard of several; "" for other files."""
    match = _SHARD.fullmatch(path.name)
    if not match or int(match[3]) < 2:
        return ""
    index = f"{match[1]}{match[4]}.index.json"
    where = "" if (path.parent / index).is_file() else ", which is published beside it"
    return f"it is shard {int(match[2])} of {int(match[3])}; give the index, {index}{where}"


def _read_zip(path: pathlib.Path) -> Checkpoint:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise JaxpartError("the end of the file is missing (cut off?); download it again") from None
    with archive:
        members = archive.infolist()
        names = {member.filename: member for member in members}
        if len(names) < len(members):
            raise JaxpartError("two of its members have the same name")
        size = path.stat().st_size
        packed = [m.file_size for m in members if m.compress_type != zipfile.ZIP_STORED]
        if sum(packed) > _MAX_PACKED * size + _SLACK:
            raise JaxpartError(f"it unpacks to {sum(packed)} bytes, many times its {size}")
        mapped, file_bytes = _mapped(path)

        def member(name: str) -> np.ndarray:
            return _member(archive, file_bytes, names[name])

        size += sum(packed)
        if names and all(name.endswith(".npy") for name in names):
            arrays = {name.removesuffix(".npy"): _npy(member(name)) for name in names}
            return Checkpoint(path, arrays, (mapped,), size)
        pickles = [name for name in names if name.split("/", 1)[-1] == "data.pkl"]
        if any(name.split("/", 1)[-1] == "constants.pkl" for name in names):
            raise JaxpartError("it is a TorchScript program, not a checkpoint; save its state_dict")
        if len(pickles) != 1:
            raise JaxpartError(
                "it is a zip archive, but not one that torch.save wrote (no data.pkl)"
            )
        root = pickles[0].removesuffix("data.pkl")
        order = root + "byteorder"
        if order in names and bytes(member(order)[:8]) != b"little":
            raise JaxpartError("it was written on a big-endian machine, which is not supported")

        @functools.cache
        def storage(key: str) -> np.ndarray:
            if f"{root}data/{key}" not in names:
                raise JaxpartError(
                    f"the data of tensor storage {printable(key)} is missing; download it again"
                )
            return member(f"{root}data/{key}")

        pickle = io.BytesIO(member(pickles[0]).tobytes())
        contents = RestrictedUnpickler(pickle, lambda key, *_: storage(key)).load()
        return Checkpoint(path, contents, (mapped,), size)


def _member(
    archive: zipfile.ZipFile, file_bytes: np.ndarray, member: zipfile.ZipInfo
) -> np.ndarray:
    """Bytes of a member, memory-mapped if it is uncompressed, as in torch.save's files."""
    if member.compress_type != zipfile.ZIP_STORED:
        return np.frombuffer(archive.read(member), np.uint8)
    local = bytes(file_bytes[member.header_offset : member.header_offset + 30])
    name_length, extra_length = struct.unpack("<HH", local[26:30])
    start = member.header_offset + 30 + name_length + extra_length
    data = file_bytes[start : start + member.file_size]
    if local[:4] != b"PK\x03\x04" or data.size != member.file_size:
        raise JaxpartError(f"its member {printable(member.filename)} is damaged; download it again")
    return data


def _npy(data: np.ndarray) -> np.ndarray:
    """An array saved by NumPy; bfloat16, which NumPy lacks, is recognised by its dtype V2."""
    file = io.BytesIO(data[: 1 << 16].tobytes())
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject or dtype.names:
        raise JaxpartError(
            f"it holds an array of {printable(str(dtype))}, which is not plain numbers"
        )
    values = data[file.tell() :]
    if math.prod(shape) * dtype.itemsize != values.size or not dtype.itemsize:
        raise JaxpartError(f"it holds an array of {printable(str(shape))} with {values.size} bytes")
    array = values.view(dtype).reshape(shape, order="F" if fortran else "C")
    return array.view(ml_dtypes.bfloat16) if dtype == "V2" else array


def _read_legacy(path: pathlib.Path) -> Checkpoint:
    """The format before PyTorch 1.6: five pickles, then the storages listed in the fifth.

    Each storage is its number of values, in eight bytes, followed by the values.
    """
    mapped, file_bytes = _mapped(path)
    sizes: dict[str, int] = {}

    def remember(key: str, count: int, dtype: np.dtype | None) -> None:
        sizes[key] = dtype.itemsize if dtype is not None else 1

    for _ in range(3):  # magic number, format version, machine properties
        RestrictedUnpickler(mapped, remember).load()
    start = mapped.tell()
    RestrictedUnpickler(mapped, remember).load()
    keys = RestrictedUnpickler(mapped, remember).load()
    storages: dict[str, np.ndarray] = {}
    offset = mapped.tell()
    for key in keys:
        count = int.from_bytes(file_bytes[offset : offset + 8].tobytes(), "little")
        end = offset + 8 + count * sizes.get(key, 0)
        if key not in sizes or end > file_bytes.size or offset + 8 > file_bytes.size:
            raise JaxpartError("the end of the file is missing (cut off?); download it again")
        storages[key], offset = file_bytes[offset + 8 : end], end
    mapped.seek(start)
    reader = RestrictedUnpickler(mapped, lambda key, *_: storages[key])
    return Checkpoint(path, reader.load(), (mapped,), file_bytes.size)


_MAX_VALUES = 500_000


def flatten(contents: Any) -> Iterator[tuple[str, Any]]:
    """Yields (dotted path, value) for each value in nested dictionaries and lists, in the file's order.

    Raises:
      JaxpartError: There are far more values than in any checkpoint, as when containers are repeated.
    """
    pending, count = [("", contents)], 0
    while pending:
        path, value = pending.pop()
        prefix = f"{path}." if path else ""
        if isinstance(value, dict) and value:
            children = [(f"{prefix}{key}", item) for key, item in value.items()]
        elif isinstance(value, list | tuple) and value:
            children = [(f"{prefix}{index}", item) for index, item in enumerate(value)]
        else:
            yield path, value
            continue
        count += len(children) * (1 + len(path) // 64)
        if count > _MAX_VALUES:
            raise JaxpartError("it holds more values, or longer keys, than any real checkpoint")
        pending += reversed(children)

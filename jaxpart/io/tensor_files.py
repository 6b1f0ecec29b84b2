"""Opens PyTorch, safetensors and numpy checkpoints, safely and without PyTorch."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import mmap
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from jaxpart.errors import JaxpartError
from jaxpart.io.unpickler import RestrictedUnpickler, finished

_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run `git lfs pull`",
    b"<": "a web page, not a checkpoint; the download was probably an error page, fetch it again",
    b"\x1f\x8b": "a gzip file; unpack it first",
    b"\x93NUMPY": "a numpy file, not a PyTorch checkpoint",
}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file with its tensors as arrays.

    Attributes:
      path: The file.
      contents: What it holds: nested dictionaries, lists and plain values. Tensors are read-only
        arrays that lie in the file (memory-mapped) until they are touched.
      mapped: The file's memory map, where it is one.
    """

    path: pathlib.Path
    contents: Any
    mapped: mmap.mmap | None = None

    def release(self) -> None:
        """Lets the memory of touched arrays go; touching them again reads the file again."""
        if self.mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapped.madvise(mmap.MADV_DONTNEED)

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the whole file, as hex digits."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def open_checkpoint(path: str | pathlib.Path, *, allow_torch: bool = False) -> Checkpoint:
    """Opens a `.pth`, `.pth.tar`, `.bin` (zip format), `.safetensors` or `.npz` file, by its content.

    Nothing of the file is run: see `jaxpart/io/unpickler.py`.

    Args:
      path: The file.
      allow_torch: Whether the old, pre-zip format may be read with PyTorch (`weights_only=True`).

    Raises:
      JaxpartError: The file is missing, damaged, of another kind, or asks for more than data.
    """
    path = pathlib.Path(path)
    try:
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "does not exist"
            raise JaxpartError(f"{path} {found}; give the checkpoint file")
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise JaxpartError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise JaxpartError(f"{path} is empty; fetch it again")
    try:
        return _open(path, head, allow_torch)
    except JaxpartError as error:
        raise JaxpartError(f"{path}: {error}") from None
    except RecursionError:
        raise JaxpartError(f"{path}: it is nested too deeply to be a checkpoint") from None
    except Exception as error:  # Whatever hostile or damaged bytes lead to in zip, pickle or numpy.
        raise JaxpartError(
            f"{path} is damaged or not a checkpoint ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _open(path: pathlib.Path, head: bytes, allow_torch: bool) -> Checkpoint:
    if head.startswith(b"PK"):
        return _read_zip(path)
    if _LEGACY_MAGIC in head:
        return Checkpoint(path, _read_legacy(path, allow_torch))
    if _is_safetensors(path, head):
        from safetensors.numpy import load_file

        return Checkpoint(path, load_file(path))
    for magic, kind in _OTHERS.items():
        if head.lstrip().startswith(magic):
            raise JaxpartError(f"it is {kind}")
    if head[257:262] == b"ustar" or (b"\x00" * 16 in head[16:] and head[:8].isascii()):
        raise JaxpartError("it is a tar archive or damaged; give the checkpoint inside")
    if head[:1] == b"\x80":
        raise JaxpartError(
            "it is a plain pickle, not a file that torch.save wrote; it is not opened"
        )
    raise JaxpartError(
        "it is neither a PyTorch (zip), a safetensors nor an .npz file; fetch it again"
    )


def _is_safetensors(path: pathlib.Path, head: bytes) -> bool:
    (length,) = struct.unpack("<Q", head[:8].ljust(8, b"\xff"))
    return head[8:9] == b"{" and length <= path.stat().st_size - 8


def _read_zip(path: pathlib.Path) -> Checkpoint:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise JaxpartError("the end of the file is missing (cut off?); fetch it again") from None
    with archive:
        names = {member.filename: member for member in archive.infolist()}
        if names and all(name.endswith(".npy") for name in names):
            return Checkpoint(path, _read_npz(path))
        pickles = [name for name in names if name.split("/", 1)[-1] == "data.pkl"]
        if any(name.split("/", 1)[-1] == "constants.pkl" for name in names):
            raise JaxpartError("it is a TorchScript program, not a checkpoint; save its state_dict")
        if len(pickles) != 1:
            raise JaxpartError(
                "it is a zip archive, but not one that torch.save wrote (no data.pkl)"
            )
        root = pickles[0].removesuffix("data.pkl")
        if archive.read(root + "byteorder") != b"little" if root + "byteorder" in names else False:
            raise JaxpartError("it was written on a big-endian machine, which is not supported")
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        whole = np.frombuffer(mapped, np.uint8)

        @functools.cache
        def storage(key: str) -> np.ndarray:
            member = names.get(f"{root}data/{key}")
            if member is None:
                raise JaxpartError(f"the data of tensor storage {key!r} is missing; fetch it again")
            return _member(archive, whole, member)

        unpickler = RestrictedUnpickler(io.BytesIO(archive.read(pickles[0])), storage)
        return Checkpoint(path, finished(unpickler.load()), mapped)


def _member(archive: zipfile.ZipFile, whole: np.ndarray, member: zipfile.ZipInfo) -> np.ndarray:
    """Bytes of a member: where they lie in the file if stored plainly, as torch.save does."""
    if member.compress_type != zipfile.ZIP_STORED:
        return np.frombuffer(archive.read(member), np.uint8)
    local = bytes(whole[member.header_offset : member.header_offset + 30])
    name_length, extra_length = struct.unpack("<HH", local[26:30])
    start = member.header_offset + 30 + name_length + extra_length
    data = whole[start : start + member.file_size]
    if local[:4] != b"PK\x03\x04" or data.size != member.file_size:
        raise JaxpartError(f"its member {member.filename} is damaged; fetch it again")
    return data


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Arrays that numpy saved; bfloat16, which numpy does not know, is told by its two raw bytes."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return {
        key: array.view(ml_dtypes.bfloat16) if array.dtype == "V2" else array
        for key, array in arrays.items()
    }


def _read_legacy(path: pathlib.Path, allow_torch: bool) -> Any:
    advice = (
        "it is in PyTorch's old format (before 1.6), which only PyTorch itself reads: install PyTorch "
        "and pass --use-torch"
    )
    if not allow_torch:
        raise JaxpartError(advice)
    try:
        import torch
    except ImportError:
        raise JaxpartError(advice) from None
    try:
        return _from_torch(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise JaxpartError(f"PyTorch refuses it: {str(error).splitlines()[0]}") from error


def _from_torch(value: Any) -> Any:
    if hasattr(value, "detach"):
        tensor = value.detach()
        if str(tensor.dtype) == "torch.bfloat16":
            return tensor.float().numpy().astype(ml_dtypes.bfloat16)
        return tensor.numpy()
    if isinstance(value, dict):
        return {key: _from_torch(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_from_torch(item) for item in value]
    return value


def flatten(contents: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested dictionaries and lists under its dotted path, in the file's order."""
    if isinstance(contents, dict) and contents:
        for key, value in contents.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(contents, list | tuple) and contents:
        for index, value in enumerate(contents):
            yield from flatten(value, f"{prefix}.{index}" if prefix else str(index))
    else:
        yield prefix, contents

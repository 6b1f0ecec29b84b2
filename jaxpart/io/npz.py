"""Reads .npz files with their checksums, which `numpy.load` skips: it stops before the end of a member."""

from __future__ import annotations

import io
import pathlib
import zipfile

import numpy as np

from jaxpart.errors import JaxpartError
from jaxpart.io.files import in_bucket, path_of

_MAX_PACKED = 100
"""Limit for the compression ratio of a file: ids, at four bytes a letter, shrink further than weights."""
_SLACK = 256 << 20
"""Bytes that any file may unpack to: counts of many classes in each image are mostly zeros."""


def check_unpacked(members: zipfile.ZipFile, size: int) -> None:
    """Raises `ValueError` if a file of `size` bytes would unpack to implausibly many."""
    unpacked = sum(member.file_size for member in members.infolist())
    if unpacked > _MAX_PACKED * size + _SLACK:
        raise ValueError(f"it unpacks to {unpacked} bytes, many times its {size}")


def read_npz(file: str | pathlib.Path, advice: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file by name, with their checksums verified.

    Raises:
      JaxpartError: It cannot be read, or is damaged.
    """
    arrays = {}
    try:
        path = path_of(file)
        content = io.BytesIO(path.read_bytes()) if in_bucket(file) else path.open("rb")
        with content, zipfile.ZipFile(content) as members:
            check_unpacked(members, content.seek(0, io.SEEK_END))
            for name in members.namelist():
                data = io.BytesIO(members.read(name))
                array = np.lib.format.read_array(data, allow_pickle=False)
                arrays[name.removesuffix(".npy")] = array
    except OSError as error:
        raise JaxpartError(
            f"{file} cannot be read ({error.strerror or error}); {advice}"
        ) from error
    except Exception as error:  # damaged bytes raise a dozen types
        raise JaxpartError(f"{file} is damaged ({error}); {advice}") from error
    return arrays

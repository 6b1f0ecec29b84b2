"""Reads .npz files with their checksums, which `numpy.load` skips: it stops before the end of a member."""

from __future__ import annotations

import io
import pathlib
import zipfile

import numpy as np

from jaxpart.errors import JaxpartError
from jaxpart.io.files import in_bucket, path_of


def read_npz(file: str | pathlib.Path, advice: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file by name, with their checksums verified.

    Args:
      file: The file.
      advice: What to do if it is damaged, for error messages.

    Raises:
      JaxpartError: It cannot be read, or is damaged.
    """
    arrays = {}
    try:
        content = io.BytesIO(path_of(file).read_bytes()) if in_bucket(file) else file
        with zipfile.ZipFile(content) as members:
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

"""The small trained encoders that come with jaxpart, a folder per method: see `jaxpart.pretraining.zoo`."""

from __future__ import annotations

import pathlib

from jaxpart.errors import JaxpartError

SHIPPED = pathlib.Path(__file__).resolve().parent
"""Where they lie in the package."""


def shipped_folder(method: str) -> pathlib.Path:
    """The encoder of a method that came with jaxpart, for `load_encoder` and `load_decoder`.

    Raises:
      JaxpartError: There is none.
    """
    folder = SHIPPED / method
    if not (folder / "encoder.json").is_file():
        raise JaxpartError(
            f"no {method} encoder is bundled with jaxpart; make it with `python -m jaxpart.pretraining.zoo "
            f"--rebuild {method}`"
        )
    return folder

"""The small trained encoders bundled with jaxpart, a folder per method: see `jaxpart.pretraining.zoo`."""

from __future__ import annotations

import pathlib

from jaxpart.errors import JaxpartError

BUNDLED = pathlib.Path(__file__).resolve().parent
"""Where they lie in the package."""


def bundled_folder(method: str) -> pathlib.Path:
    """The bundled encoder of a method, for `load_encoder` and `load_decoder`.

    Raises:
      JaxpartError: There is none.
    """
    folder = BUNDLED / method
    if not (folder / "encoder.json").is_file():
        raise JaxpartError(
            f"no {method} encoder is bundled with jaxpart; make it with `python -m jaxpart.pretraining.zoo "
            f"--rebuild {method}`"
        )
    return folder

"""Gives encoder folders of older versions the digest and the checksum that this version checks:
python -m jaxpart.encoders.sealing FOLDER...

Arrays stay as they are; what encoder.json says is taken as right, so look at its mean and std first.
"""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import argparse
import pathlib
import sys

import numpy as np

from jaxpart.encoders.loading import FORMAT, describe, load_encoder
from jaxpart.io.files import path_of, write_json


def seal(folder: str | pathlib.Path) -> bool:
    """Writes `encoder.json` anew; returns whether it was of an older version.

    Raises:
      JaxpartError: The folder is no encoder, its arrays were changed, or it cannot be written.
    """
    folder = path_of(folder)
    document, _ = describe(folder)
    if document["format"] == FORMAT:
        return False
    load_encoder(folder, put=np.asarray)  # its arrays are right
    write_json(folder / "encoder.json", {**document, "format": FORMAT})
    return True


@terminal.told
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="a converted encoder")
    for folder in parser.parse_args(arguments).folders:
        print(f"{folder}: {'done' if seal(folder) else 'is of this version already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

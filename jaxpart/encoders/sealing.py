"""Updates encoder folders of older versions to the digest and checksum of this version:
python -m jaxpart.encoders.sealing FOLDER...

The arrays are unchanged, and encoder.json is trusted, so check its mean and std first.
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
    """Rewrites `encoder.json`; returns whether it was of an older version.

    Raises:
      JaxpartError: The folder is not an encoder, its arrays were modified, or it cannot be written.
    """
    folder = path_of(folder)
    document, _ = describe(folder)
    if document["format"] == FORMAT:
        return False
    load_encoder(folder, put=np.asarray)  # checks its arrays
    write_json(folder / "encoder.json", {**document, "format": FORMAT})
    return True


@terminal.entry_point
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="a converted encoder")
    for folder in parser.parse_args(arguments).folders:
        print(f"{folder}: {'updated' if seal(folder) else 'already up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

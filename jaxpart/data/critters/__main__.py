"""`python -m jaxpart.data.critters FILE [--version N]`: draws a figure of the data set.

It shows critters of the test split and, below them, part patches as the encoders see them, one row per
part.
"""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import argparse
import pathlib
import sys

import numpy as np
from PIL import Image

from jaxpart.config import CRITTERS_VERSION
from jaxpart.data.critters import CRITTER_PARTS, Critters
from jaxpart.data.parts import part_patches
from jaxpart.data.patch_images import read_patches
from jaxpart.errors import JaxpartError
from jaxpart.io.files import replacing

_COLUMNS, _ROWS, _SIDE = 8, 3, 120
_PATCH = 60


def sheet(version: int) -> Image.Image:
    """Draws the figure."""
    columns = _COLUMNS * _SIDE // _PATCH
    critters = Critters("test", 2 * columns, image_size=_SIDE, version=version)
    images = [critters.draw(i).image for i in range(_COLUMNS * _ROWS)]
    rows = [np.concatenate(images[i * _COLUMNS :][:_COLUMNS], axis=1) for i in range(_ROWS)]
    patches = part_patches(critters, CRITTER_PARTS)
    for part in CRITTER_PARTS.parts:
        shown = [patch for patch in patches if patch.part == part][:columns]
        pixels = [result for _, result in read_patches(critters, shown, size=_PATCH)]
        rows.append(np.concatenate([p for p in pixels if isinstance(p, np.ndarray)], axis=1))
    return Image.fromarray(np.concatenate(rows))


@terminal.entry_point
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxpart.data.critters", description="Draws a picture of the data set."
    )
    parser.add_argument("file", type=pathlib.Path, metavar="FILE", help="a .png")
    parser.add_argument("--version", type=int, default=CRITTERS_VERSION, metavar="N", help="1 or 2")
    args = parser.parse_args(arguments)
    if args.file.suffix != ".png":
        raise JaxpartError(f"{args.file} is not a .png file; name one")
    picture = sheet(args.version)
    with replacing(args.file) as temporary:
        picture.quantize(256).save(temporary, "png", optimize=True)  # a third of the size
    print(f"picture: {args.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

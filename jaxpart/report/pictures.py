"""A report on a folder of images without annotations: how an encoder sees them."""

from __future__ import annotations

import pathlib

from jaxpart.config import part_config
from jaxpart.data.folders import read_file, walk_images
from jaxpart.data.images import Pixels, decode, image_eval
from jaxpart.encoders.configured import configured_encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.errors import JaxpartError
from jaxpart.io.files import path_of
from jaxpart.report.encoded_images import encode_images
from jaxpart.report.figures import token_figures
from jaxpart.report.folder import mark, report_folder, save_pictures
from jaxpart.report.match import match
from jaxpart.report.page import pictures_page
from jaxpart.runs.paper import METHODS
from jaxpart.runs.progress import Progress

_ATTENDED = 12
"""Number of images whose attention is shown."""


def make_pictures(
    images: pathlib.Path, encoder: str, out: pathlib.Path, most: int, progress: Progress
) -> None:
    """Writes index.html, match.html and figures of a folder's images.

    Args:
      images: A folder of images, or of folders of images; phone pictures are turned upright.
      encoder: See `named`.
      out: The folder to write; an earlier report there is replaced.
      most: Maximum number of images to show, the first by name.
      progress: Shows the progress, and what was skipped.

    Raises:
      JaxpartError: There are no images, none can be read, the encoder is wrong, or the report cannot be
        written.
    """
    paths = walk_images(images)
    frozen, label, caveat = named(encoder)
    pixels: list[Pixels] = []
    names: list[str] = []
    skipped: list[str] = []
    for path in paths[:most]:
        try:
            picture = decode(read_file(images / path), str(images / path), upright=True)
        except JaxpartError as error:
            skipped.append(f"{path}: skipped, {error}")
            continue
        pixels.append(image_eval(picture, frozen.image_size[0]))
        names.append(path)
    if not pixels:
        raise JaxpartError(f"no image of {images} can be read; the first: {skipped[0]}")
    progress.say(f"to encode with {label}: {len(pixels)} of the {len(paths)} images in {images}")
    encoded = encode_images(frozen, pixels, names, label, caveat)
    with report_folder(out) as folder:
        shown = save_pictures(token_figures([encoded], attended=_ATTENDED), folder, progress)
        for line in skipped:
            progress.say(line)
        for name, text in (
            ("match.html", match([encoded])),
            ("index.html", pictures_page(encoded, str(images), len(paths), shown, skipped)),
        ):
            (folder / name).write_text(text, encoding="utf-8", errors="replace")
        mark(folder, {"images": str(images), "skipped": skipped})


def named(encoder: str) -> tuple[FrozenEncoder, str, str]:
    """The encoder that a command line names, with its label and its caveat.

    Args:
      encoder: A folder written by `convert`; a method of the paper, "ibot", for the small encoder
        bundled with jaxpart; or a callable, "timm:resnet50", as in `--config.encoder.callable`.

    Raises:
      JaxpartError: There is no such encoder, or it cannot be read.
    """
    config = part_config("", "", projector=True)
    caveat = ""
    if path_of(encoder).is_dir():
        config.encoder.checkpoint = encoder
    elif encoder in METHODS:
        config.method = encoder
        caveat = "small, bundled with jaxpart, pretrained on drawn critters"
    elif ":" in encoder:
        config.encoder.callable = encoder
    else:
        raise JaxpartError(
            f"there is no encoder {encoder!r}; name a folder written by `python -m convert`, one of "
            f"{', '.join(METHODS)}, or a callable such as timm:resnet50"
        )
    frozen = configured_encoder(config)
    if not frozen.trained:
        caveat = "UNTRAINED, random weights"
    return frozen, METHODS.get(frozen.name, frozen.name), caveat

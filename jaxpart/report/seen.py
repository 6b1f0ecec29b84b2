"""Whole images as an encoder sees them: their patch tokens, and where its cls token attends."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxpart.data.images import Pixels, decode, image_eval
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.errors import JaxpartError
from jaxpart.report.evaluate import Looker, drawn_images, picture_source
from jaxpart.runs.progress import Progress

SHOWN = 8
"""Images that are looked at of a run's data."""
_IMAGES = 8
"""Looked at at once."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """Images as an encoder saw them.

    Attributes:
      label: Names the encoder.
      caveat: What is to be said of it, or "".
      names: Of the images.
      images: The pixels.
      tokens: Patch tokens after the final norm.
      attention: Of cls to the patches, in the last block of a ViT; None of another encoder.
    """

    label: str
    caveat: str
    names: Sequence[str]
    images: UInt8[np.ndarray, "image size size 3"]
    tokens: Float[np.ndarray, "image row column width"]
    attention: Float[np.ndarray, "image head row column"] | None

    @property
    def said(self) -> str:
        """The encoder with its caveat."""
        return f"{self.label} ({self.caveat})" if self.caveat else self.label


def look(
    encoder: FrozenEncoder, images: Sequence[Pixels], names: Sequence[str], label: str, caveat: str
) -> Seen:
    """Images through an encoder, a few at a time.

    Args:
      encoder: The encoder.
      images: All of one size.
      names: Of the images.
      label: Names the encoder.
      caveat: What is to be said of it.
    """
    pixels = np.stack(images)
    grid, prefix = encoder.grid_of(*pixels.shape[1:3]), len(encoder.prefix)
    tokens, attention = [], []
    for start in range(0, len(pixels), _IMAGES):
        batch = pixels[start : start + _IMAGES]
        count = len(batch)
        # Filled up, so that every batch is of one shape and compiled once.
        batch = np.concatenate([batch, np.zeros((_IMAGES - count, *batch.shape[1:]), np.uint8)])
        normalised = encoder.normalize(jnp.asarray(batch))
        if isinstance(encoder, Encoder) and "cls" in encoder.prefix:
            out = encoder(normalised, attention=True)
            weights = np.asarray(out["attention"])[:count, :, encoder.prefix.index("cls"), prefix:]
            attention.append(weights.reshape(*weights.shape[:2], *grid))
        else:
            out = encoder(normalised)
        patches = np.asarray(out["tokens"], np.float32)[:count, prefix:]
        tokens.append(patches.reshape(count, *grid, -1))
    attended = np.concatenate(attention) if attention else None
    return Seen(label, caveat, names, pixels, np.concatenate(tokens), attended)


def look_at_runs(lookers: Sequence[Looker], progress: Progress) -> tuple[list[Seen], list[str]]:
    """Images of each run's first data set through its encoder, and lines that say what is missing."""
    seen, missing = [], []
    with progress.bar("whole images", len(lookers)) as advance:
        for looker in lookers:
            try:
                seen.append(_look_at(looker))
            except JaxpartError as error:
                missing.append(f"{looker.run.label}: attention and PCA of tokens skipped, {error}")
            advance(1)
    return seen, missing


def _look_at(looker: Looker) -> Seen:
    encoder, config = looker.encoder, looker.config
    source = picture_source(looker.data_set, config.data)
    images, names = [], []
    for number in drawn_images(source, SHOWN, config.data.seed):
        record = source[number]
        names.append(record.annotation.id)
        images.append(image_eval(decode(record.image, names[-1]), encoder.image_size[0]))
    return look(encoder, images, names, looker.run.label, looker.run.caveat)

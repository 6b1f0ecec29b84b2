"""Whole images as an encoder sees them: patch tokens, and the attention of its cls token."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxpart.data.images import Pixels, decode, image_eval
from jaxpart.data.subset import drawn_images
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.errors import JaxpartError
from jaxpart.report.evaluate import OpenedRun, picture_source
from jaxpart.runs.progress import Progress

SHOWN = 8
"""Images shown of a run's data."""
_IMAGES = 8
"""Batch size."""


@dataclasses.dataclass(frozen=True)
class EncodedImages:
    """Images with the tokens and attention of an encoder.

    Attributes:
      label: The encoder's name.
      caveat: A caveat of the encoder, or "".
      names: The images' names.
      images: Their pixels.
      tokens: Patch tokens after the final norm.
      attention: Attention of cls to the patches in a ViT's last block; None for other encoders.
    """

    label: str
    caveat: str
    names: Sequence[str]
    images: UInt8[np.ndarray, "image size size 3"]
    tokens: Float[np.ndarray, "image row column width"]
    attention: Float[np.ndarray, "image head row column"] | None

    @property
    def title(self) -> str:
        """The encoder's label with its caveat."""
        return f"{self.label} ({self.caveat})" if self.caveat else self.label


def encode_images(
    encoder: FrozenEncoder, images: Sequence[Pixels], names: Sequence[str], label: str, caveat: str
) -> EncodedImages:
    """Encodes images, a few at a time.

    Args:
      encoder: The encoder.
      images: Images of one size.
      names: The images' names.
      label: The encoder's name.
      caveat: A caveat of the encoder, or "".
    """
    pixels = np.stack(images)
    grid, prefix = encoder.grid_of(*pixels.shape[1:3]), len(encoder.prefix)
    tokens, attention = [], []
    for start in range(0, len(pixels), _IMAGES):
        batch = pixels[start : start + _IMAGES]
        count = len(batch)
        # Padded, so that all batches have one shape and compile once.
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
    return EncodedImages(label, caveat, names, pixels, np.concatenate(tokens), attended)


def encode_runs(
    opened_runs: Sequence[OpenedRun], progress: Progress
) -> tuple[list[EncodedImages], list[str]]:
    """Encodes images of each run's first data set; also returns messages about what is missing."""
    encoded, missing = [], []
    with progress.bar("whole images", len(opened_runs)) as advance:
        for opened in opened_runs:
            try:
                encoded.append(_encode_run(opened))
            except JaxpartError as error:
                missing.append(f"{opened.run.label}: attention and PCA of tokens skipped, {error}")
            advance(1)
    return encoded, missing


def _encode_run(opened: OpenedRun) -> EncodedImages:
    encoder, config = opened.encoder, opened.config
    source = picture_source(opened.data_set, config.data)
    images, names = [], []
    for number in drawn_images(source, SHOWN, config.data.seed):
        record = source[number]
        names.append(record.annotation.id)
        images.append(image_eval(decode(record.image, names[-1]), encoder.image_size[0]))
    return encode_images(encoder, images, names, opened.run.label, opened.run.caveat)

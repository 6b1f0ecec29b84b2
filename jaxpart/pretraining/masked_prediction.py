"""Prediction of hidden patches by pretrained encoders with their decoders: MAE, BEiT and CAE."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, UInt8

from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.loading import describe
from jaxpart.errors import JaxpartError
from jaxpart.pretraining import beit, cae, mae, masks
from jaxpart.pretraining.decoders import DecoderConfig, load_decoder

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Hidden:
    """Predictions for the hidden patches; NaN for the others, None for what the method lacks.

    Attributes:
      pixels: MAE: the patch's pixels, normalised as in the encoder's input and, if the decoder was
        trained so, to mean 0 and variance 1 per patch as well.
      logits: BEiT, CAE: scores of the patch's token.
      latents: CAE: the patch's representation, regressed from the visible ones.
      targets: CAE: its representation by the encoder, computed from the hidden patches alone.
    """

    pixels: Float32[np.ndarray, "image patch pixel"] | None = None
    logits: Float32[np.ndarray, "image patch token"] | None = None
    latents: Float32[np.ndarray, "image patch width"] | None = None
    targets: Float32[np.ndarray, "image patch width"] | None = None


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A frozen encoder with its pretraining decoder."""

    encoder: Encoder
    config: DecoderConfig
    decoder: nnx.Module

    def __call__(
        self,
        images: UInt8[np.ndarray, "image height width 3"],
        mask: Bool[np.ndarray, "image patch"],
    ) -> Hidden:
        """Predicts the hidden patches of images from the visible ones.

        Encoders of visible tokens (MAE, CAE) compile once per number of hidden patches, so images with
        the same number run together.

        Pixel values are 0 to 255, and sides multiples of the patch size; the mask is True for some but
        not all patches of each image.

        Raises:
          JaxpartError: The masks do not fit the images, or one hides nothing or everything.
        """
        rows, columns = self.encoder.config.grid_of(*images.shape[1:3])
        if mask.shape != (len(images), rows * columns):
            raise JaxpartError(
                f"the masks have the shape {mask.shape}; give one of {rows * columns} patches for each "
                f"of {len(images)} images"
            )
        counts = mask.sum(axis=1)
        bad = np.flatnonzero((counts == 0) | (counts == rows * columns))
        if len(bad):
            raise JaxpartError(
                f"mask {bad[0]} hides {counts[bad[0]]} of {rows * columns} patches; hide some, not all"
            )
        if self.config.kind == "beit":
            counts = np.zeros_like(counts)  # it has a token for every patch
        size = min(_BATCH, len(images))
        predictions: dict[str, np.ndarray] = {}
        for count in np.unique(counts).tolist():
            group = np.flatnonzero(counts == count)
            for start in range(0, len(group), size):
                indices = group[start : start + size]
                padded = np.resize(indices, size)  # one shape
                out = _predict(
                    self.encoder,
                    self.decoder,
                    images[padded],
                    mask[padded],
                    kind=self.config.kind,
                    hidden=count,
                )
                for name, values in jax.device_get(out).items():
                    if name not in predictions:
                        shape = (*mask.shape, values.shape[-1])
                        predictions[name] = np.full(shape, np.nan, np.float32)
                    for index, row in zip(indices, values, strict=False):
                        masked = row if count else row[mask[index]]
                        predictions[name][index, mask[index]] = masked
        return Hidden(**predictions)

    @property
    def codebook(self) -> Float32[np.ndarray, "token pixel"] | None:
        """Pixels of each token, 0 to 1; None if not stored (released checkpoints use DALL-E's)."""
        if not self.config.codebook:
            return None
        decoder: Any = self.decoder
        return np.asarray(decoder.codebook[...])


def load_predictor(encoder: Encoder, folder: str | pathlib.Path) -> Predictor:
    """An encoder with the decoder stored beside it.

    Raises:
      JaxpartError: The folder holds no decoder, one that predicts no patches, or another encoder's.
    """
    decoder: Any = load_decoder(folder)
    config: DecoderConfig = decoder.config
    if config.kind not in KINDS:
        raise JaxpartError(
            f"the decoder of {folder} is {config.kind}'s, which predicts no patches; choose from "
            f"{', '.join(KINDS)}"
        )
    if describe(folder)[0]["digest"] != encoder.digest:
        raise JaxpartError(f"{folder} holds a different encoder; load the encoder from there too")
    return Predictor(encoder, config, decoder)


def _mae(vit: Any, decoder: Any, images: Array, mask: Array, hidden: int) -> dict[str, Array]:
    pixels = mae.reconstruct(vit, decoder, images, mask, hidden)
    return {"pixels": masks.take(pixels, masks.split(mask, hidden)[1])}


def _beit(vit: Any, decoder: Any, images: Array, mask: Array, hidden: int) -> dict[str, Array]:
    del hidden
    return {"logits": beit.masked_logits(vit, decoder, images, mask)}


def _cae(vit: Any, decoder: Any, images: Array, mask: Array, hidden: int) -> dict[str, Array]:
    out = cae.predict(vit, decoder, images, mask, hidden)
    return {"logits": out.logits, "latents": out.predicted, "targets": out.target}


KINDS = {"mae": _mae, "beit": _beit, "cae": _cae}
"""Prediction function of each method."""


@functools.partial(jax.jit, static_argnames=("kind", "hidden"))
def _predict(
    encoder: Encoder,
    decoder: nnx.Module,
    images: UInt8[Array, "image height width 3"],
    mask: Bool[Array, "image patch"],
    *,
    kind: str,
    hidden: int,
) -> dict[str, Float[Array, "image patch channel"]]:
    """Predictions of the hidden patches in patch order, or of all (BEiT)."""
    return KINDS[kind](encoder.model, decoder, encoder.normalize(images), mask, hidden)

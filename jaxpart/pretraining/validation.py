"""Validation during pretraining: kinds and parts of critters, and the rank of the features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jaxpart.data.critters import CRITTER_PARTS, Critters
from jaxpart.data.images import image_eval
from jaxpart.data.parts import part_patches
from jaxpart.data.views import patch_view
from jaxpart.encoders.encoder import Encoder
from jaxpart.metrics.average_precision import average_precision
from jaxpart.probes.logistic import logistic_regression

MEASURES = ("kinds", "parts", "rank")
"""Accuracy of a linear probe on kinds, AP of part retrieval (both from 0 to 1), effective rank."""

_BATCH = 128
_TRAINED_SHARE = 2 / 3
"""Share of the images that train the linear probe; the rest are held out."""
_STEADY = {"kinds": 0.01, "parts": 0.01, "rank": 0.05}
"""Gains that count as none: one point, and a twentieth of the rank."""


class Validation:
    """Validates an encoder in training on critters."""

    def __init__(self, source: Critters, size: int) -> None:
        """Draws the critters."""
        drawn = (Image.fromarray(source.draw(i).image) for i in range(len(source)))
        self._wholes = np.stack([image_eval(image, size) for image in drawn])
        self._kinds = np.array([source.annotation(i).label for i in range(len(source))])
        self._trained = round(_TRAINED_SHARE * len(source))
        patches = [
            patch for patch in part_patches(source, CRITTER_PARTS) if patch.index >= self._trained
        ]
        pixels: list[Any] = list(patch_view(source, patches, size=size).read(range(len(patches))))
        self._patches, self._parts = np.stack(pixels), [patch.part for patch in patches]

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        """Measures an encoder by its mean patch tokens, see `MEASURES`."""
        wholes = _embed(encoder, self._wholes)
        if not np.isfinite(wholes).all():
            return dict.fromkeys(MEASURES, math.nan)  # the loss will show it
        train, test = np.split(wholes, [self._trained])
        train_kinds, test_kinds = np.split(self._kinds, [self._trained])
        predicted = logistic_regression(train, train_kinds, test)
        return {
            "kinds": float((predicted == test_kinds).mean()),
            "parts": average_precision(_embed(encoder, self._patches), self._parts).ap,
            "rank": effective_rank(wholes),
        }


def _embed(
    encoder: Encoder, images: UInt8[np.ndarray, "image height width 3"]
) -> Float[np.ndarray, "image channel"]:
    filled = np.concatenate([images, np.zeros_like(images[: -len(images) % _BATCH])])
    batches = [filled[i : i + _BATCH] for i in range(0, len(filled), _BATCH)]
    out = [encoder(encoder.normalize(jnp.asarray(batch)))["embedding"] for batch in batches]
    return np.concatenate(out)[: len(images)]


def effective_rank(features: Float[np.ndarray, "item channel"]) -> float:
    """The exponential of the entropy of the centred features' normalised singular values.

    1 if all lie on a line, the number of channels if they spread equally in every direction (Roy and
    Vetterli, "The effective rank", 2007).
    """
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def levelled_off(curve: Mapping[str, Sequence[float]]) -> bool:
    """Whether the last quarter of a run's measurements is no better than the quarter before.

    False with fewer than four measurements.
    """
    if len(curve["kinds"]) < 4:
        return False
    quarter = len(curve["kinds"]) // 4
    for measure in MEASURES:
        values = np.asarray(curve[measure])
        before, last = values[-2 * quarter : -quarter].mean(), values[-quarter:].mean()
        tolerance = _STEADY[measure] * (before if measure == "rank" else 1)
        if not last - before <= tolerance:  # also for NaN
            return False
    return True

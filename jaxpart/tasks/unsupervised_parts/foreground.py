"""Foreground without masks: a normalised cut of the patch tokens of an image, as in TokenCut."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float

from jaxpart.tasks.unsupervised_parts.clustering import unit

_THRESHOLD = 0.2
_FEEBLE = 1e-5


def normalised_cut(
    tokens: Float[np.ndarray, "cell channel"], inside: Bool[np.ndarray, " cell"]
) -> Bool[np.ndarray, " cell"]:
    """The cells on the salient side of the normalised cut of one image's tokens.

    As in TokenCut (Wang et al., CVPR 2022): tokens with a cosine above 0.2 are linked by 1, others by
    1e-5; the second generalised eigenvector of the graph's Laplacian is cut at its mean, and the side
    that holds its largest absolute value is the foreground. TokenCut reads the keys of DINO's last layer,
    whose cosines lie around 0; those of other encoders' tokens may all be above 0.2, so that here tokens
    lose the image's mean first.

    Args:
      tokens: Of all cells.
      inside: The cells of the picture; others are left out, and are background.
    """
    found = np.zeros(len(tokens), bool)
    count = int(inside.sum())
    if count < 3:
        found[inside] = True
        return found
    seen = np.asarray(tokens[inside], np.float64)
    seen = unit(seen - seen.mean(axis=0))
    graph = np.where(seen @ seen.T > _THRESHOLD, 1.0, _FEEBLE)
    root = 1 / np.sqrt(graph.sum(axis=1))
    # (D − W) y = λ D y by the symmetric matrix of the same eigenvalues.
    laplacian = np.eye(count) - root[:, None] * graph * root
    vector = root * scipy.linalg.eigh(laplacian, subset_by_index=[1, 1])[1][:, 0]
    above = vector > vector.mean()
    found[inside] = above if above[np.abs(vector).argmax()] else ~above
    return found

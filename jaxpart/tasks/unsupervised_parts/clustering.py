"""Parts as clusters of patch tokens: k-means and NMF, fitted to a sample of tokens and applied to all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from jaxpart.encoders.positions import Grid

Method = Literal["kmeans", "nmf"]
METHODS: tuple[Method, ...] = ("kmeans", "nmf")

Read = Callable[[slice], Float32[np.ndarray, "image cell channel"]]
"""Reads the tokens of some images."""

PartsOf = Callable[[Float32[np.ndarray, "token channel"]], Int[np.ndarray, " token"]]
"""Assigns each token to a part, from 0."""

_Key = TypeVar("_Key", bound=Hashable)

_BLOCK_VALUES = 1 << 24
"""Number of values in memory at once, besides the sample for fitting."""
_UPDATES = 200
"""Maximum number of NMF updates: scikit-learn's default."""


def blocks(images: int, values: int) -> Iterator[slice]:
    """Divides images into blocks of bounded memory.

    `values` is the number of values of each image.
    """
    step = max(1, _BLOCK_VALUES // max(1, values))
    for start in range(0, images, step):
        yield slice(start, min(start + step, images))


def drawn_tokens(
    read: Read, where: Bool[np.ndarray, "image cell"], channels: int, most: int, seed: int
) -> Float32[np.ndarray, "token channel"]:
    """A random sample of foreground tokens, in the order of the images."""
    chosen = np.flatnonzero(where)
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    cells = where.shape[1]
    sample = np.empty((len(chosen), channels), np.float32)
    for block in blocks(len(where), cells * channels):
        first, last = np.searchsorted(chosen, (block.start * cells, block.stop * cells))
        if last > first:
            tokens = read(block).reshape(-1, channels)
            sample[first:last] = tokens[chosen[first:last] - block.start * cells]
    return sample


def fit_parts(
    tokens: Float32[np.ndarray, "token channel"],
    method: Method,
    parts: int,
    restarts: int,
    seed: int,
) -> PartsOf:
    """Divides tokens into parts, with scikit-learn.

    "kmeans": Lloyd's algorithm from k-means++, the best of several restarts. "nmf": tokens, clipped at 0,
    are factorised into non-negative weights and factors (multiplicative updates, squared error); a token
    belongs to the factor with the largest contribution.
    """
    from sklearn.cluster import KMeans  # slow to import, like all of scikit-learn
    from sklearn.decomposition import NMF

    model: Any
    if method == "kmeans":
        model = KMeans(parts, n_init=restarts, random_state=seed)
        _quietly(model.fit, tokens)
        return model.predict
    positive = np.maximum(tokens, 0)
    if not positive.any():  # scikit-learn raises for such tokens
        return lambda tokens: np.zeros(len(tokens), np.int64)
    model = NMF(parts, solver="mu", max_iter=_UPDATES, random_state=seed)
    _quietly(model.fit, positive)
    length = np.linalg.norm(model.components_, axis=1)

    def largest(tokens: Float32[np.ndarray, "token channel"]) -> Int[np.ndarray, " token"]:
        weights = _quietly(model.transform, np.maximum(tokens, 0))
        return (weights * length).argmax(axis=1)

    return largest


def labelled(
    models: Mapping[_Key, PartsOf], read: Read, images: int, grid: Grid, channels: int
) -> dict[_Key, Int[np.ndarray, "image cell"]]:
    """The part of every token by each model; tokens are read once."""
    cells = grid[0] * grid[1]
    labels = {key: np.zeros((images, cells), np.int16) for key in models}
    for block in blocks(images, cells * channels):
        tokens = read(block).reshape(-1, channels)
        for key, parts_of in models.items():
            labels[key][block] = parts_of(tokens).reshape(-1, cells)
    return labels


def _quietly(function: Callable[[np.ndarray], Any], tokens: np.ndarray) -> Any:
    """Calls a function without warnings about equal or zero tokens, or about convergence."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(tokens)


def unit(tokens: Float[np.ndarray, "*token channel"]) -> Float[np.ndarray, "*token channel"]:
    """Tokens normalised to length 1, except zeros."""
    return tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-10)

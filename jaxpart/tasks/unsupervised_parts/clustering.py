"""Parts as clusters of patch tokens: k-means and NMF, fitted to some tokens and found in all."""

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
"""The tokens of some images."""

PartsOf = Callable[[Float32[np.ndarray, "token channel"]], Int[np.ndarray, " token"]]
"""The part that each token belongs to, from 0."""

_Key = TypeVar("_Key", bound=Hashable)

_BLOCK_VALUES = 1 << 24
"""Of tokens, in memory at a time beside those that are fitted."""
_UPDATES = 200
"""Of NMF, at most: scikit-learn's default."""


def blocks(images: int, values: int) -> Iterator[slice]:
    """All images, as many at a time as memory should hold.

    Args:
      images: How many there are.
      values: Of each.
    """
    step = max(1, _BLOCK_VALUES // max(1, values))
    for start in range(0, images, step):
        yield slice(start, min(start + step, images))


def drawn_tokens(
    read: Read, where: Bool[np.ndarray, "image cell"], channels: int, most: int, seed: int
) -> Float32[np.ndarray, "token channel"]:
    """Tokens of the foreground, in the order of the images.

    Args:
      read: The tokens of all cells.
      where: The foreground.
      channels: Of a token.
      most: So many are drawn by the seed, if there are more.
      seed: Of the drawing.
    """
    chosen = np.flatnonzero(where)
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    cells = where.shape[1]
    found = np.empty((len(chosen), channels), np.float32)
    for some in blocks(len(where), cells * channels):
        first, last = np.searchsorted(chosen, (some.start * cells, some.stop * cells))
        if last > first:
            tokens = read(some).reshape(-1, channels)
            found[first:last] = tokens[chosen[first:last] - some.start * cells]
    return found


def fit_parts(
    tokens: Float32[np.ndarray, "token channel"],
    method: Method,
    parts: int,
    *,
    restarts: int,
    seed: int,
) -> PartsOf:
    """Divides tokens into parts, by scikit-learn.

    "kmeans": Lloyd's algorithm from k-means++, the best of several starts. "nmf": the tokens, cut off below
    0, as non-negative weights of as many non-negative factors (multiplicative updates of the squared
    error); a token belongs to the factor that makes up most of it.

    Args:
      tokens: What the parts are fitted to; at least as many as parts.
      method: See above.
      parts: How many.
      restarts: Starts of k-means.
      seed: Of the starts.

    Returns:
      What tells the parts of any tokens.
    """
    from sklearn.cluster import KMeans  # slow to import, as all of scikit-learn
    from sklearn.decomposition import NMF

    model: Any
    if method == "kmeans":
        model = KMeans(parts, n_init=restarts, random_state=seed)
        _quietly(model.fit, tokens)
        return model.predict
    positive = np.maximum(tokens, 0)
    if not positive.any():  # scikit-learn refuses such tokens
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
    """The part of every token by each model; tokens are read once.

    Args:
      models: Of `fit_parts`.
      read: The tokens of all cells.
      images: How many there are.
      grid: Of the tokens.
      channels: Of a token.
    """
    cells = grid[0] * grid[1]
    found = {key: np.zeros((images, cells), np.int16) for key in models}
    for some in blocks(images, cells * channels):
        tokens = read(some).reshape(-1, channels)
        for key, parts_of in models.items():
            found[key][some] = parts_of(tokens).reshape(-1, cells)
    return found


def _quietly(function: Callable[[np.ndarray], Any], tokens: np.ndarray) -> Any:
    """Without the warnings of tokens that are alike or 0, and of updates that stop at the limit."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(tokens)


def unit(tokens: Float[np.ndarray, "*token channel"]) -> Float[np.ndarray, "*token channel"]:
    """Tokens of length 1; zeros stay."""
    return tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-10)

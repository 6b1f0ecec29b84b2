"""The points of image pairs: matching, errors and confusions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from jaxpart.data.pairs import PairSet
from jaxpart.tasks.correspondence.matching import match, match_pixels
from jaxpart.tasks.correspondence.places import (
    Convention,
    Grid,
    Sampled,
    points_of,
    sampled,
    to_square,
    within,
)

Read = Callable[[Int64[np.ndarray, " image"]], Float32[np.ndarray, "image cell channel"]]
"""Reads the tokens of some images."""


class PairPoints:
    """The counted points of all pairs, in pixels of the square, or of the original image if matches are.

    Attributes:
      counted: Which points count: those visible in both images.
    """

    counted: Bool[np.ndarray, "pair point"]

    def __init__(self, pairs: PairSet, convention: Convention, side: int) -> None:
        """Transforms all points to the square."""
        self._pairs, self._convention, self._side = pairs, convention, side
        self.counted = pairs.counted
        self._original = convention.target == "original"
        self._source = self._transform(pairs.source_xy, 0)
        self._target = self._transform(pairs.target_xy, 1)
        longest = pairs.sizes[pairs.pairs[:, 1]].max(axis=1)
        self._length = pairs.side if self._original else pairs.side * (side / longest)

    def _transform(self, xy: np.ndarray, end: int) -> Float64[np.ndarray, "pair point 2"]:
        if self._original:
            return np.asarray(xy, np.float64)
        transformed = np.empty(xy.shape)
        for rows, size in self._by_size(end):
            flat = to_square(xy[rows].reshape(-1, 2), size, self._side, self._convention)
            transformed[rows] = flat.reshape(xy[rows].shape)
        return transformed

    def _by_size(self, end: int) -> list[tuple[np.ndarray, tuple[int, int]]]:
        """(indices of pairs, size) for each size of source (0) or target (1) images."""
        sizes = self._pairs.sizes[self._pairs.pairs[:, end]]
        distinct, group = np.unique(sizes, axis=0, return_inverse=True)
        group = group.reshape(-1)
        return [(np.flatnonzero(group == i), (int(w), int(h))) for i, (w, h) in enumerate(distinct)]

    def same_position(self) -> Float64[np.ndarray, "point 2"]:
        """The baseline that ignores images: the same (relative) position in the square or in the image."""
        if not self._original:
            return self._source[self.counted]
        sizes = self._pairs.sizes[self._pairs.pairs].astype(np.float64)
        return (self._source / sizes[:, :1] * sizes[:, 1:])[self.counted]

    def match(self, read: Read, grid: Grid, window: int | None) -> Float64[np.ndarray, "point 2"]:
        """Matches the counted points, in the order of pairs and points.

        Only the tokens of one class are in memory at a time.
        """
        pair, _ = np.nonzero(self.counted)
        source, target = self._pairs.pairs[pair].T
        at = self._sampled(grid)
        matches = np.empty((len(pair), 2))
        names, label = np.unique(self._pairs.classes, return_inverse=True)
        images_of_class = [np.unique(self._pairs.pairs[label == i]) for i in range(len(names))]
        most = max(map(len, images_of_class))
        for number, images in enumerate(images_of_class):
            rows = np.flatnonzero(label[pair] == number)
            tokens = read(images)
            indices = np.searchsorted(images, source[rows]), np.searchsorted(images, target[rows])
            sampled_rows = Sampled(at.cells[rows], at.weights[rows])
            if self._convention.target == "cells":
                # Padded to one number of images, so that one compiled program serves all classes.
                tokens = np.pad(tokens, ((0, most - len(images)), (0, 0), (0, 0)))
                matched = match(tokens, indices[0], sampled_rows, indices[1], window=window)
                matches[rows] = points_of(matched, grid, self._convention)
                continue
            sizes = self._pairs.sizes[images]
            if not self._original:
                sizes = np.full_like(sizes, self._side)
            normalised = self._convention.normalised
            matches[rows] = match_pixels(
                tokens, indices[0], sampled_rows, indices[1], sizes, normalised=normalised
            )
        return matches

    def _sampled(self, grid: Grid) -> Sampled:
        """The tokens and weights that make up each point's feature."""
        count = 1 if self._convention.source == "cell" else 4
        cells = np.zeros((*self.counted.shape, count), np.int32)
        weights = np.zeros((*self.counted.shape, count), np.float32)
        for rows, size in self._by_size(0):
            flat = sampled(self._source[rows].reshape(-1, 2), grid, self._convention, size)
            cells[rows] = flat.cells.reshape(cells[rows].shape)
            weights[rows] = flat.weights.reshape(cells[rows].shape)
        return Sampled(cells[self.counted], weights[self.counted])

    def right(
        self, matches: Float64[np.ndarray, "point 2"], alpha: float
    ) -> Bool[np.ndarray, "pair point"]:
        """Which counted points were matched within `alpha` times the reference length."""
        error = np.linalg.norm(matches - self._target[self.counted], axis=1)
        length = np.broadcast_to(self._length[:, None], self.counted.shape)[self.counted]
        right = np.zeros(self.counted.shape, bool)
        right[self.counted] = within(error, length, alpha, self._convention)
        return right

    def confused(self, matches: Float64[np.ndarray, "point 2"]) -> Bool[np.ndarray, "pair point"]:
        """Which points were matched nearer to another visible point of their group than to their own."""
        pair, point = np.nonzero(self.counted)
        target, groups = self._target[pair], self._pairs.groups[pair]
        own = groups[np.arange(len(pair)), point]
        others = (groups == own[:, None]) & (own >= 0)[:, None] & self._pairs.target_visible[pair]
        others[np.arange(len(pair)), point] = False
        distance = np.linalg.norm(target - matches[:, None], axis=2)
        nearest = np.where(others, distance, np.inf).min(axis=1)
        confused = np.zeros(self.counted.shape, bool)
        confused[self.counted] = nearest < distance[np.arange(len(pair)), point]
        return confused

"""Outlines of the parts of version 2, each in its own coordinates and ordered back to front.

A limb (wing, leg, tail, beak) has its root at (0, 0) and points along x to about (1, 0). Bodies, heads
and eyes have their centre at (0, 0) and a radius of about 1.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike

Points = np.ndarray
"""Corners of a polygon [points, 2]."""

_TURN = np.linspace(0, 2 * np.pi, 24, endpoint=False)


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    """An ellipse along the axes."""
    return np.stack([x + rx * np.cos(_TURN), y + ry * np.sin(_TURN)], 1)


def ribbon(spine: ArrayLike, widths: ArrayLike) -> Points:
    """The outline of a line through the points of `spine` with the given half widths."""
    line, half = np.array(spine), np.array(widths)[:, None]
    steps = np.diff(line, axis=0)
    along = np.concatenate([steps[:1], steps[1:] + steps[:-1], steps[-1:]])
    across = along[:, ::-1] * (-1, 1) / np.sqrt((along**2).sum(axis=1, keepdims=True))
    return np.concatenate([line + half * across, (line - half * across)[::-1]])


def _star(tips: int, inner: float) -> Points:
    angle = np.pi * np.arange(2 * tips) / tips
    radius = np.where(np.arange(2 * tips) % 2, inner, 1.0)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


@functools.cache
def body(shape: int) -> list[Points]:
    """Round, a diamond, or three balls in a row."""
    if shape == 0:
        return [ellipse(0, 0, 0.92, 0.92)]
    if shape == 1:
        return [
            np.array(
                [(-1.15, 0), (-0.2, -0.85), (0.2, -0.85), (1.15, 0), (0.2, 0.85), (-0.2, 0.85)]
            )
        ]
    return [ellipse(-0.72, 0, 0.52, 0.55), ellipse(0.72, 0, 0.52, 0.55), ellipse(0, 0, 0.55, 0.65)]


@functools.cache
def head(shape: int) -> list[Points]:
    """Plain, with two ears, or with feelers; facing along x."""
    skull = ellipse(0, 0, 0.95, 0.9)
    if shape == 0:
        return [skull]
    if shape == 1:
        return [np.array([(-0.95, -0.1), (-1.15, -1.7), (-0.1, -0.8)]),
                np.array([(0.0, -0.8), (0.7, -1.7), (0.9, -0.3)]), skull]  # fmt: skip
    feelers = [
        ribbon([(x, -0.7), (1.3 * x, -1.2), (2.4 * x, -1.7)], [0.12, 0.1, 0.1])
        for x in (-0.35, 0.3)
    ]
    return [*feelers, *(ellipse(x, -1.75, 0.32, 0.32) for x in (-0.9, 0.8)), skull]


@functools.cache
def beak(shape: int) -> list[Points]:
    """A needle, a hook, or a spoon."""
    if shape == 0:
        return [np.array([(0, -0.25), (1.8, 0), (0, 0.25)])]
    if shape == 1:
        return [
            np.array([(0, -0.5), (0.7, -0.5), (1.2, -0.1), (1.15, 0.9), (0.75, 0.3), (0, 0.35)])
        ]
    return [np.array([(0, -0.2), (0.5, -0.2), (0.8, -0.6), (1.4, -0.45), (1.4, 0.45), (0.8, 0.6),
                      (0.5, 0.2), (0, 0.2)])]  # fmt: skip


@functools.cache
def eye(shape: int) -> list[Points]:
    """Nested shapes: a slit in an almond, three rings, or a star in a square."""
    if shape == 0:
        corner = [(-1.2, 0), (-0.6, 0), (0, 0), (0.6, 0), (1.2, 0)]
        return [ribbon(corner, [0.02, 0.6, 0.8, 0.6, 0.02]), ellipse(0, 0, 0.2, 0.75)]
    if shape == 1:
        return [ellipse(0, 0, radius, radius) for radius in (1, 0.72, 0.42)]
    return [np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]), _star(4, 0.28) * 0.85]


@functools.cache
def wing(shape: int) -> list[Points]:
    """A bat's, a comb of four fingers, or two long ovals."""
    if shape == 0:
        tips, gaps = [(1.1, -0.42), (1.0, 0.22), (0.5, 0.58)], [(0.8, -0.06), (0.6, 0.24)]
        root = (0.0, 0.05)
        return [
            np.array([root, (0.4, -0.34), tips[0], gaps[0]]),
            np.array([root, gaps[0], tips[1], gaps[1]]),
            np.array([root, gaps[1], tips[2], (0.2, 0.36)]),
        ]
    if shape == 1:
        fingers = [
            ribbon([(x, -0.12), (x + 0.04, 0.2), (x + 0.14, 0.52)], [0.085, 0.08, 0.04])
            for x in (0.14, 0.36, 0.58, 0.8)
        ]
        return [
            *fingers,
            ribbon([(0, -0.08), (0.3, -0.2), (0.7, -0.22), (1.05, -0.1)], [0.1, 0.14, 0.13, 0.04]),
        ]
    return [
        ribbon([(0, 0), (0.3, y / 3), (0.65, y), (0.95, 1.2 * y)], [0.05, 0.14, 0.19, 0.1])
        for y in (0.34, -0.34)
    ]


@functools.cache
def leg(shape: int) -> list[Points]:
    """A knee and three toes, a stump on a web, or a ham on a stilt and a ball."""
    if shape == 0:
        knee = (0.45, 0.26)
        toes = [ribbon([(0.9, 0), (1.15, y)], [0.06, 0.04]) for y in (-0.28, 0.0, 0.28)]
        shin = ribbon([knee, (0.7, 0.12), (0.95, 0.0)], [0.09, 0.08, 0.07])
        return [*toes, shin, ribbon([(0, 0), (0.22, 0.13), knee], [0.13, 0.11, 0.09])]
    if shape == 1:
        web = [(0.85, 0), (1.15, -0.38), (1.1, -0.1), (1.2, 0.02), (1.1, 0.12), (1.15, 0.4)]
        return [np.array(web), ribbon([(0, 0), (0.5, 0), (0.95, 0)], [0.24, 0.18, 0.12])]
    stilt = ribbon([(0.4, 0), (0.95, 0)], [0.08, 0.08])
    return [ellipse(1.02, 0, 0.2, 0.2), stilt, ellipse(0.26, 0, 0.3, 0.24)]


@functools.cache
def tail(shape: int) -> list[Points]:
    """A fork, a curl, or a rattle."""
    if shape == 0:
        return [
            ribbon(
                [(0, 0), (0.35, 0.02 * s), (0.65, 0.2 * s), (1.1, 0.36 * s)],
                [0.12, 0.13, 0.1, 0.02],
            )
            for s in (-1, 1)
        ]
    if shape == 1:
        angle = np.linspace(-0.5 * np.pi, 1.25 * np.pi, 14)[1:, None]
        radius = np.linspace(0.42, 0.16, 14)[1:, None]
        spiral = (0.62, 0.02) + radius * np.concatenate([np.cos(angle), np.sin(angle)], 1)
        spine = np.concatenate([[(0, 0), (0.25, -0.2)], spiral])
        return [ribbon(spine, np.linspace(0.12, 0.05, len(spine)))]
    beads = [ellipse(x, 0, r, r) for x, r in ((0.38, 0.22), (0.72, 0.19), (1.0, 0.15))]
    return [ribbon([(0, 0), (0.3, 0)], [0.1, 0.08]), *beads]


KEYPOINTS = {
    "head": ((-0.55, 0.55),) * 3,
    "beak": ((0.4, 0.0),) * 3,
    "eye": ((0.0, 0.0),) * 3,
    "wing": ((0.6, 0.0), (0.5, -0.18), (0.55, 0.27)),
    "leg": ((0.66, 0.14), (0.6, 0.0), (0.66, 0.0)),
    "tail": ((0.56, 0.15), (0.42, 0.03), (0.6, 0.0)),
}
"""Keypoint (x, y) of each part, by its shape."""

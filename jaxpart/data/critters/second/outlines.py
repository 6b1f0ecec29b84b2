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


def rotation(angle: float) -> np.ndarray:
    """Rotation matrix [2, 2] for row vectors: points @ rotation(angle)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    """An axis-aligned ellipse."""
    return np.stack([x + rx * np.cos(_TURN), y + ry * np.sin(_TURN)], 1)


def ribbon(spine: ArrayLike, widths: ArrayLike) -> Points:
    """The outline of a stroke through the points of `spine` with the given half widths."""
    centre, half = np.array(spine), np.array(widths)[:, None]
    steps = np.diff(centre, axis=0)
    along = np.concatenate([steps[:1], steps[1:] + steps[:-1], steps[-1:]])
    across = along[:, ::-1] * (-1, 1) / np.sqrt((along**2).sum(axis=1, keepdims=True))
    return np.concatenate([centre + half * across, (centre - half * across)[::-1]])


def _star() -> Points:
    corners = np.arange(8)
    angle, radius = np.pi * corners / 4, np.where(corners % 2, 0.3, 1.0)
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
    """A disc and an iris, and a round pupil, a slit, or a star: each of radius 1, to be nested."""
    pupil = (ellipse(0, 0, 0.8, 0.8), ellipse(0, 0, 0.25, 0.95), _star())[shape]
    return [ellipse(0, 0, 1, 1), ellipse(0, 0, 1, 1), pupil]


@functools.cache
def wing(shape: int) -> list[Points]:
    """A fan of three feathers: pointed, round, or broad at the tip."""
    feather = (
        ribbon([(0, 0), (0.25, 0), (0.55, 0), (1.2, 0)], [0.04, 0.14, 0.2, 0.01]),
        ribbon([(0, 0), (0.4, 0), (0.75, 0), (0.98, 0), (1.06, 0)], [0.04, 0.09, 0.18, 0.14, 0.05]),
        ribbon([(0, 0), (0.3, 0), (1.0, 0)], [0.04, 0.07, 0.17]),
    )[shape]
    return [feather @ rotation(angle) for angle in (0.45, -0.45, 0.0)]


@functools.cache
def leg(shape: int) -> list[Points]:
    """A thigh, a knee and a shin on three toes, a web, or a ball."""
    knee = (0.42, 0.26)
    foot = (
        [ribbon([(0.88, 0), (1.18, y)], [0.06, 0.04]) for y in (-0.28, 0.0, 0.28)],
        [
            np.array(
                [(0.8, 0), (1.12, -0.38), (1.06, -0.1), (1.16, 0.02), (1.06, 0.12), (1.12, 0.4)]
            )
        ],
        [ellipse(1.0, 0, 0.2, 0.2)],
    )[shape]
    shin = ribbon([knee, (0.7, 0.12), (0.92, 0.0)], [0.1, 0.08, 0.07])
    return [*foot, shin, ribbon([(0, 0), (0.22, 0.13), knee], [0.15, 0.13, 0.1])]


_BEADS = (
    ((0.2, 0, 0.2), (0.48, 0, 0.18), (0.74, 0, 0.16), (0.97, 0, 0.13), (1.14, 0, 0.09)),
    (
        (0.2, -0.1, 0.2),
        (0.5, -0.2, 0.18),
        (0.78, -0.12, 0.16),
        (0.9, 0.12, 0.14),
        (0.76, 0.3, 0.12),
    ),
    ((0.2, 0, 0.2), (0.47, 0, 0.18), (0.72, 0, 0.16), (0.95, 0.2, 0.12), (0.95, -0.2, 0.12)),
)


@functools.cache
def tail(shape: int) -> list[Points]:
    """A chain of beads: straight, curled, or forked."""
    return [ellipse(x, y, radius, radius) for x, y, radius in reversed(_BEADS[shape])]


KEYPOINTS = {
    "head": ((-0.55, 0.55),) * 3,
    "beak": ((0.4, 0.0),) * 3,
    "eye": ((0.0, 0.0),) * 3,
    "wing": ((0.65, 0.0),) * 3,
    "leg": ((0.66, 0.14),) * 3,
    "tail": ((0.5, 0.0), (0.55, -0.15), (0.5, 0.0)),
}
"""Keypoint (x, y) of each part, by its shape."""

"""Outlines of a critter's parts in its own coordinates: body at (0, 0), facing right, y down.

A critter is about two units long. Outlines are polygons [points, 2], ordered back to front.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxpart.data.critters.species import MASK_PARTS, Colour, variant

KEYPOINTS = {
    "head": (0.46, -0.34),
    "beak": (0.93, -0.38),
    "eye": (0.68, -0.50),
    "wing": (-0.12, -0.02),
    "leg": (0.16, 0.60),
    "tail": (-0.92, -0.10),
}
"""Keypoint (x, y) of each part at rest."""

_ELLIPSE = np.stack([f(np.linspace(0, 2 * np.pi, 28, endpoint=False)) for f in (np.cos, np.sin)], 1)


@dataclasses.dataclass(frozen=True)
class Outline:
    """A filled polygon.

    Attributes:
      points: Corners [points, 2].
      colour: RGB.
      label: Its label in the part mask; None for decoration, which keeps the label below it.
      edge: Whether a darker line is drawn around it.
    """

    points: np.ndarray
    colour: Colour
    label: int | None
    edge: bool = True


def _ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> np.ndarray:
    cosine, sine = np.cos(turn), np.sin(turn)
    return _ELLIPSE * (rx, ry) @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(c * factor)) for c in colour)
    return red, green, blue


def _head(shape: int) -> list[np.ndarray]:
    skull = _ellipse(0.60, -0.42, 0.27, 0.25)
    extra = (
        [],
        [np.array([(0.42, -0.58), (0.30, -0.98), (0.56, -0.76), (0.66, -1.02), (0.76, -0.60)])],
        [
            np.array([(0.38, -0.52), (0.36, -0.92), (0.56, -0.62)]),
            np.array([(0.60, -0.62), (0.78, -0.92), (0.80, -0.52)]),
        ],
        [np.array([(0.44, -0.62), (0.60, -0.86), (0.78, -0.60), (0.62, -0.56)])],
    )[shape]
    return [*extra, skull]


def _beak(shape: int) -> list[np.ndarray]:
    corners = (
        [(0.80, -0.52), (1.06, -0.38), (0.80, -0.28)],
        [(0.80, -0.46), (1.42, -0.36), (0.80, -0.32)],
        [(0.80, -0.54), (1.04, -0.48), (1.10, -0.22), (0.98, -0.32), (0.80, -0.27)],
        [(0.80, -0.47), (1.14, -0.47), (1.20, -0.38), (1.14, -0.30), (0.80, -0.29)],
    )[shape]
    return [np.array(corners)]


def _wing(shape: int) -> list[np.ndarray]:
    corners = (
        _ellipse(-0.14, -0.02, 0.40, 0.25, 0.25),
        np.array([(0.26, -0.20), (0.10, 0.20), (-0.30, 0.26), (-0.86, -0.46), (-0.30, -0.26)]),
        np.array(
            [(0.26, -0.12), (0.16, 0.22), (-0.06, 0.12), (-0.20, 0.32), (-0.34, 0.14), (-0.56, 0.22),
             (-0.52, -0.08), (-0.24, -0.28)]
        ),
        np.array([(0.22, -0.16), (-0.10, 0.34), (-0.46, 0.02), (-0.20, -0.26)]),
    )[shape]  # fmt: skip
    return [corners]


def _tail(shape: int) -> list[np.ndarray]:
    corners = (
        [(-0.50, -0.12), (-1.12, -0.48), (-1.28, -0.14), (-1.16, 0.24), (-0.50, 0.14)],
        [(-0.50, -0.14), (-1.30, -0.40), (-0.98, -0.08), (-1.28, 0.24), (-0.50, 0.14)],
        [(-0.50, -0.14), (-0.86, -0.26), (-1.06, -0.66), (-1.24, -0.48), (-1.12, -0.06),
         (-0.84, 0.12), (-0.50, 0.14)],
        [(-0.50, -0.12), (-1.46, -0.12), (-0.50, 0.12)],
    )[shape]  # fmt: skip
    return [np.array(corners)]


def _leg(shape: int, swing: float) -> list[np.ndarray]:
    width = (0.05, 0.10, 0.05, 0.06)[shape]
    foot = (0.14, 0.15, 0.22, 0.12)[shape]
    legs = []
    for hip, step in ((-0.16, swing), (0.16, -swing)):
        knee, ankle = hip + step, hip + 1.4 * step
        legs.append(
            np.array(
                [
                    (hip - width, 0.22),
                    (hip + width, 0.22),
                    (knee + width, 0.58),
                    (ankle + width, 0.74),
                    (ankle + foot, 0.82),
                    (ankle - 0.08, 0.82),
                    (knee - width, 0.58),
                ]
            )
        )
    return legs


def _texture(shape: int) -> list[np.ndarray]:
    if shape == 1:
        spots = [(-0.30, -0.22), (0.10, -0.30), (0.34, -0.02), (-0.40, 0.12), (0.16, 0.22)]
        return [_ellipse(x, y, 0.07, 0.06) for x, y in spots]
    if shape == 2:
        return [
            _ellipse(x, 0.02, 0.035, 0.32 - abs(x) * 0.4, 0.2) for x in (-0.38, -0.12, 0.14, 0.38)
        ]
    if shape == 3:
        return [_ellipse(0.12, 0.18, 0.36, 0.18)]
    return []


def outlines(kind: int, swing: float) -> list[Outline]:
    """All parts of a critter of a kind, back to front.

    Args:
      kind: Class label.
      swing: How far the legs are spread, −0.15 to 0.15.
    """
    label = {part: i for i, part in enumerate(MASK_PARTS, 1)}
    variants = {part: variant(kind, part) for part in MASK_PARTS}
    result: list[Outline] = []

    def add(part: str, polygons: list[np.ndarray], factor: float = 1.0, edge: bool = True) -> None:
        colour = _shade(variants[part].colour, factor)
        result.extend(Outline(points, colour, label[part], edge) for points in polygons)

    add("tail", _tail(variants["tail"].shape))
    add("leg", _leg(variants["leg"].shape, swing))
    add("body", [_ellipse(0.0, 0.02, 0.60, 0.42)])
    add("body", [_ellipse(0.06, -0.10, 0.44, 0.24)], 1.14, edge=False)
    add(
        "body",
        _texture(variants["body"].shape),
        0.72 if variants["body"].shape < 3 else 1.35,
        edge=False,
    )
    add("wing", _wing(variants["wing"].shape))
    add("wing", [_ellipse(-0.12, -0.06, 0.20, 0.10, 0.25)], 1.22, edge=False)
    add("beak", _beak(variants["beak"].shape))
    add("head", _head(variants["head"].shape))
    add("head", [_ellipse(0.58, -0.52, 0.14, 0.09)], 1.16, edge=False)
    eye = variants["eye"]
    rings = (
        (0.085, eye.colour),
        (0.12, (250, 248, 240)),
        (0.105, (32, 28, 34)),
        (0.12, eye.colour),
    )
    radius, colour = rings[eye.shape]
    result.append(Outline(_ellipse(0.68, -0.50, radius, radius), colour, label["eye"]))
    pupil = (245, 245, 245) if eye.shape in (0, 2) else (28, 24, 30)
    pupil_radius = 0.03 if eye.shape in (0, 2) else 0.06
    result.append(
        Outline(_ellipse(0.70, -0.52, pupil_radius, pupil_radius), pupil, None, edge=False)
    )
    return result

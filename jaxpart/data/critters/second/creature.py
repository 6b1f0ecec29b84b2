"""The body of a critter of version 2, with the random traits of one individual."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from jaxpart.data.critters.second import outlines
from jaxpart.data.critters.second.kinds import shapes_of
from jaxpart.data.critters.second.texture import Paint, random_paint
from jaxpart.data.critters.species import MASK_PARTS

Place = Callable[[np.ndarray], np.ndarray]
"""Maps points [points, 2] from a part's coordinates to the body's."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """Polygons that are painted together.

    Attributes:
      polygons: The corners [points, 2] of each polygon, back to front.
      paint: How they are filled.
      label: Their label in the part mask; 0 for clutter.
    """

    polygons: list[np.ndarray]
    paint: Paint
    label: int


def _placed(matrix: np.ndarray, shift: Sequence[float] | np.ndarray) -> Place:
    return lambda points: points @ matrix + shift


def _limb(
    rng: np.random.Generator, root: tuple[float, float], direction: float, length: float
) -> Place:
    """A random placement of a limb near a root and direction: stretched, tapered, bent, mirrored."""
    long, broad, taper, bend, swing = rng.uniform(
        (0.85, 0.75, -0.25, -0.3, -0.45), (1.2, 1.25, 0.25, 0.3, 0.45)
    )
    scale = length * np.array([long, broad * rng.choice([-1.0, 1.0])])
    turn = outlines.rotation(direction + swing)
    start = np.array(root) + rng.normal(0, 0.04, 2)

    def place(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        shaped = np.stack([x, y * (1 + taper * (x - 0.5)) + bend * x * x], 1)
        return shaped * scale @ turn + start

    return place


def _nested_rings(rng: np.random.Generator, rings: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The nested disc, iris and pupil of an eye, randomly foreshortened, rotated and offset.

    Args:
      rng: Random number generator.
      rings: Rings of radius 1 about (0, 0).
    """
    narrow = np.diag([1, rng.uniform(0.6, 1.0)]) @ outlines.rotation(rng.uniform(0, 2 * np.pi))
    sizes = np.cumprod([1, *rng.uniform(0.55, (0.85, 0.95))])
    look = rng.uniform(-0.22, 0.22, 2)
    return [
        (ring * size + look * depth / 2) @ narrow
        for depth, (ring, size) in enumerate(zip(rings, sizes, strict=True))
    ]


def make_creature(rng: np.random.Generator, kind: int) -> tuple[list[Shape], dict[str, np.ndarray]]:
    """A random individual that faces right, with its body at (0, 0), about 2.7 wide, y down.

    Returns:
      Its shapes, back to front, and its keypoints [2] by part name.
    """
    shape_of = shapes_of(kind)
    paints = {part: random_paint(rng) for part in MASK_PARTS}
    shapes: list[Shape] = []
    keypoints: dict[str, np.ndarray] = {}

    def add(
        part: str, polygons: Sequence[np.ndarray], place: Place, paint: Paint | None = None
    ) -> None:
        label = MASK_PARTS.index(part) + 1
        shapes.append(Shape([place(points) for points in polygons], paint or paints[part], label))

    def add_keypoint(part: str, place: Place) -> None:
        keypoints[part] = place(np.array([outlines.KEYPOINTS[part][shape_of[part]]]))[0]

    tail = _limb(rng, (-0.40, 0.33), 2.45, 0.78)
    wing = _limb(rng, (-0.33, -0.37), -2.3, 0.8)
    leg = _limb(rng, (0.3, 0.4), 0.95, 0.78)
    far_side = np.array([-0.18, 0.03])
    gait = outlines.rotation(rng.uniform(-0.25, 0.25))
    trunk = np.diag(0.56 * rng.uniform(0.85, 1.15, 2)) @ outlines.rotation(rng.uniform(-0.2, 0.2))
    neck = np.array([0.7, -0.7]) + rng.normal(0, 0.05, 2)
    face = _placed(0.33 * rng.uniform(0.88, 1.15) * outlines.rotation(rng.uniform(-0.3, 0.2)), neck)
    mouth = _placed(np.diag(rng.uniform((0.9, 0.85), (1.2, 1.15))), (0.8, 0.15))
    gaze = _placed(
        rng.uniform(0.42, 0.8) * outlines.rotation(rng.uniform(0, 2 * np.pi)),
        np.array([0.2, -0.1]) + rng.uniform(-0.25, 0.25, 2),
    )

    add("tail", outlines.tail(shape_of["tail"]), tail)
    add_keypoint("tail", tail)
    add("leg", outlines.leg(shape_of["leg"]), lambda points: leg(points @ gait) + far_side)
    throat = [(0.1, -0.1), tuple(neck / 2 + 0.03), tuple(neck)]
    add("body", [outlines.ribbon(throat, [0.22, 0.17, 0.14])], _placed(np.eye(2), (0, 0)))
    for ball in outlines.body(shape_of["body"]):
        add("body", [ball], _placed(trunk, (0, 0)))
    add("leg", outlines.leg(shape_of["leg"]), leg)
    add_keypoint("leg", leg)
    add("wing", outlines.wing(shape_of["wing"]), wing)
    add_keypoint("wing", wing)
    add("beak", outlines.beak(shape_of["beak"]), lambda points: face(mouth(points)))
    add_keypoint("beak", lambda points: face(mouth(points)))
    for bone in outlines.head(shape_of["head"]):
        add("head", [bone], face)
    add_keypoint("head", face)
    for number, ring in enumerate(_nested_rings(rng, outlines.eye(shape_of["eye"]))):
        paint = random_paint(rng) if number else None
        add("eye", [ring], lambda points: face(gaze(points)), paint)
    add_keypoint("eye", lambda points: face(gaze(points)))
    return shapes, keypoints

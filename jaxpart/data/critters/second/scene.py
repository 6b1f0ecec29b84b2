"""One image of version 2: a critter in a random pose, among clutter with the same colours and textures."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageChops, ImageDraw

from jaxpart.data.critters.second import outlines
from jaxpart.data.critters.second.creature import Shape, make_creature
from jaxpart.data.critters.second.texture import Paint, pattern, random_paint
from jaxpart.data.critters.species import PARTS, Colour

_SUPERSAMPLING = 3
_LEAN = 0.7
_OCCLUDED = 0.25
_SHADE = 100


@dataclasses.dataclass(frozen=True)
class Scene:
    """All elements of an image, in units of its side, y down.

    Attributes:
      kind: Class label of the critter.
      ground: Paint of the background.
      shapes: Critter and clutter, back to front.
      keypoints: Position of each part's keypoint [parts, 2].
      light: Offset (x, y) of the lit area of each shape; the rest is in shade.
    """

    kind: int
    ground: Paint
    shapes: list[Shape]
    keypoints: np.ndarray
    light: np.ndarray


def _clutter(rng: np.random.Generator, middle: np.ndarray, size: float) -> Shape:
    """A leaf, a pebble, a twig or a splinter."""
    variety = rng.integers(4)
    if variety == 0:
        x = np.linspace(-1, 1, 9)
        points = outlines.ribbon(np.stack([x, 0.15 * x * x], 1), 0.35 * (1 - 0.98 * x * x))
    elif variety == 1:
        points = outlines.ellipse(0, 0, 1, 0.7)
        points = points * rng.uniform(0.8, 1.1, (len(points), 1))
    elif variety == 2:
        bend = rng.uniform(-0.5, 0.5)
        line = [(-1.2, 0), (-0.4, bend), (0.4, -bend), (1.2, 0)]
        points = outlines.ribbon(line, [0.14, 0.12, 0.1, 0.06])
    else:
        angle = np.sort(rng.uniform(0, 2 * np.pi, 5))
        points = np.stack([np.cos(angle), np.sin(angle)], 1)
    placed = points * size @ outlines.rotation(rng.uniform(0, 2 * np.pi)) + middle
    return Shape([placed], random_paint(rng), 0)


def make_scene(rng: np.random.Generator, kind: int) -> Scene:
    """A random scene with a critter of a kind."""
    creature, keypoints = make_creature(rng, kind)
    axis = outlines.rotation(rng.uniform(0, np.pi))
    foreshortened = axis @ np.diag([1, rng.uniform(0.8, 1.0)]) @ axis.T
    turn = np.diag([rng.choice([-1.0, 1.0]), 1.0]) @ outlines.rotation(rng.uniform(-_LEAN, _LEAN))
    transform = foreshortened @ turn * rng.uniform(0.31, 0.38)
    middle = 0.5 + rng.uniform(-0.06, 0.06, 2)
    behind = [
        _clutter(rng, rng.uniform(0, 1, 2), rng.uniform(0.05, 0.2))
        for _ in range(rng.integers(3, 7))
    ]
    occluders = rng.integers(1, 3) if rng.random() < _OCCLUDED else 0
    before = [
        _clutter(rng, middle + rng.normal(0, 0.26, 2), rng.uniform(0.06, 0.12))
        for _ in range(occluders)
    ]

    # Rounded, so that the last bit of a sine, which differs between machines, changes no pixel.
    def to_image(points: np.ndarray) -> np.ndarray:
        return (points @ transform + middle).round(6)

    critter = [
        Shape([to_image(points) for points in shape.polygons], shape.paint, shape.label)
        for shape in creature
    ]
    return Scene(
        kind=kind,
        ground=random_paint(rng),
        shapes=[*map(_rounded, behind), *critter, *map(_rounded, before)],
        keypoints=to_image(np.array([keypoints[part] for part in PARTS])),
        light=np.round(0.03 * outlines.rotation(rng.uniform(0, 2 * np.pi))[0], 6),
    )


def _rounded(shape: Shape) -> Shape:
    return Shape([points.round(6) for points in shape.polygons], shape.paint, shape.label)


def draw_image(scene: Scene, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The RGB image."""
    large = size * _SUPERSAMPLING
    full_box = (0, 0, large, large)
    image = Image.new("RGB", full_box[2:], scene.ground.colours[0])
    if scene.ground.pattern is not None:
        image.paste(scene.ground.colours[1], full_box, pattern(scene.ground, full_box, large))
    canvas = ImageDraw.Draw(image)
    for shape in scene.shapes:
        _paint(image, canvas, shape, scene.light * large)
    return np.asarray(image.reduce(_SUPERSAMPLING))


def _paint(
    image: Image.Image, canvas: ImageDraw.ImageDraw, shape: Shape, light: np.ndarray
) -> None:
    """Fills polygons with their pattern, shades the side away from the light, and draws their edges."""
    large = image.width
    corners = np.concatenate(shape.polygons) * large
    left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)) + 1, large).astype(int).tolist()
    if left >= right or top >= bottom:
        return
    ends = np.cumsum([0, *map(len, shape.polygons)]) * 2

    def flat_polygons(points: np.ndarray) -> list[list[float]]:
        flat = points.ravel().tolist()
        return [flat[a:b] for a, b in itertools.pairwise(ends)]

    box, paint = (left, top, right, bottom), shape.paint
    outlined, inside = flat_polygons(corners), flat_polygons(corners - (left, top))
    mask = Image.new("L", (right - left, bottom - top))
    mask_canvas = ImageDraw.Draw(mask)
    _fill(canvas, outlined, paint.colours[0])
    if paint.pattern is not None:
        _fill(mask_canvas, inside, 255)
        image.paste(paint.colours[1], box, ImageChops.darker(mask, pattern(paint, box, large)))
    _fill(mask_canvas, inside, _SHADE)
    _fill(mask_canvas, flat_polygons(corners - (left, top) - light), 0)
    image.paste((0, 0, 0), box, mask)
    width = max(1, large // 90)
    for polygon in outlined:
        canvas.line(polygon + polygon[:2], fill=paint.edge, width=width)


def draw_part_mask(scene: Scene, size: int) -> UInt8[np.ndarray, "size size"]:
    """The part label of each pixel, 0 for the background and for occluders."""
    mask = Image.new("L", (size, size), 0)
    canvas = ImageDraw.Draw(mask)
    for shape in scene.shapes:
        _fill(canvas, [(points * size).ravel().tolist() for points in shape.polygons], shape.label)
    return np.asarray(mask)


def _fill(
    canvas: ImageDraw.ImageDraw, polygons: Iterable[list[float]], value: int | Colour
) -> None:
    for polygon in polygons:
        canvas.polygon(polygon, fill=value)

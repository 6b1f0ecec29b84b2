"""One image: a critter in a random pose in front of a random background, sometimes partly hidden."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from jaxpart.data.critters.anatomy import KEYPOINTS, Outline, outlines
from jaxpart.data.critters.species import PARTS, Colour

_SUPERSAMPLING = 3
_OCCLUDED = 0.35
_GRID = 6

_GROUNDS = ((146, 176, 112), (198, 178, 134), (122, 156, 148), (176, 150, 128), (168, 184, 196))
_SKIES = ((196, 222, 238), (246, 226, 196), (214, 206, 232), (206, 232, 214), (240, 212, 208))
_LEAVES = ((86, 130, 74), (122, 146, 66), (62, 108, 92), (150, 120, 72), (134, 96, 120))


@dataclasses.dataclass(frozen=True)
class Scene:
    """All elements of an image, in units of its side, y down.

    Attributes:
      kind: Class label of the critter.
      behind: Leaves behind the critter.
      critter: Its outlines, back to front.
      before: Leaves in front, which may hide it.
      keypoints: Position of each part's keypoint [parts, 2].
      sky: Colour at the top.
      ground: Colour at the bottom.
      horizon: Height of the horizon, 0 to 1.
      texture: Brightness changes of the background, [grid, grid], around 0.
      light: Direction (x, y) of the light source; its length is the strength.
    """

    kind: int
    behind: list[Outline]
    critter: list[Outline]
    before: list[Outline]
    keypoints: np.ndarray
    sky: Colour
    ground: Colour
    horizon: float
    texture: np.ndarray
    light: np.ndarray


def _leaf(rng: np.random.Generator, centre: np.ndarray, length: float) -> Outline:
    turn = rng.uniform(0, 2 * np.pi)
    along = np.linspace(-1, 1, 9)
    side = 0.28 * (1 - along**2)
    shape = np.concatenate([np.stack([along, side], 1), np.stack([along, -side], 1)[::-1]])
    cosine, sine = np.cos(turn), np.sin(turn)
    points = shape * length @ np.array([[cosine, sine], [-sine, cosine]]) + centre
    red, green, blue = (
        int(c * rng.uniform(0.85, 1.15)) for c in _LEAVES[rng.integers(len(_LEAVES))]
    )
    return Outline(points, (red, green, blue), 0)


def make_scene(rng: np.random.Generator, kind: int) -> Scene:
    """A random scene with a critter of a kind."""
    scale = rng.uniform(0.30, 0.40)
    turn = rng.uniform(-0.3, 0.3)
    side = rng.choice([-1.0, 1.0])
    stretch = rng.uniform(0.9, 1.1)
    centre = np.array([0.5, 0.52]) + rng.uniform(-0.09, 0.09, 2)
    cosine, sine = np.cos(turn), np.sin(turn)
    transform = np.diag([side * stretch, 1.0]) @ np.array([[cosine, sine], [-sine, cosine]]) * scale
    swing = rng.uniform(-0.13, 0.13)
    critter = [
        dataclasses.replace(outline, points=outline.points @ transform + centre)
        for outline in outlines(kind, swing)
    ]
    posed = KEYPOINTS | {"leg": (0.16 - 1.0 * swing, 0.58)}
    before = []
    if rng.random() < _OCCLUDED:
        for _ in range(rng.integers(1, 3)):
            position = centre + rng.normal(0, 0.22, 2)
            before.append(_leaf(rng, position, rng.uniform(0.10, 0.20)))
    return Scene(
        kind=kind,
        behind=[
            _leaf(rng, rng.uniform(0, 1, 2), rng.uniform(0.06, 0.16))
            for _ in range(rng.integers(2, 7))
        ],
        critter=critter,
        before=before,
        keypoints=np.array([posed[part] for part in PARTS]) @ transform + centre,
        sky=_SKIES[rng.integers(len(_SKIES))],
        ground=_GROUNDS[rng.integers(len(_GROUNDS))],
        horizon=rng.uniform(0.45, 0.8),
        texture=rng.normal(0, 7, (_GRID, _GRID)),
        light=rng.uniform(-0.16, 0.16, 2),
    )


def draw_image(scene: Scene, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The RGB image."""
    large = size * _SUPERSAMPLING
    image = Image.fromarray(_background(scene, size)).resize(
        (large, large), Image.Resampling.BILINEAR
    )
    canvas = ImageDraw.Draw(image)
    for outline in (*scene.behind, *scene.critter, *scene.before):
        corners = [tuple(point) for point in (outline.points * large).tolist()]
        canvas.polygon(corners, fill=outline.colour)
        if outline.edge:
            edge = tuple(int(c * 0.6) for c in outline.colour)
            canvas.line([*corners, corners[0]], fill=edge, width=max(1, large // 140))
    pixels = np.asarray(image.reduce(_SUPERSAMPLING), np.float32)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    shading = 1 + np.float32(scene.light[0]) * ramp + np.float32(scene.light[1]) * ramp[:, None]
    return np.clip(pixels * shading[..., None], 0, 255).astype(np.uint8)


def _background(scene: Scene, size: int) -> np.ndarray:
    height = np.linspace(0, 1, size)
    blend = np.clip((height - scene.horizon) * 6 + 0.5, 0, 1)[:, None]
    column = (1 - blend) * np.array(scene.sky) + blend * np.array(scene.ground)
    column *= (1.06 - 0.14 * height)[:, None]
    texture = Image.fromarray(scene.texture.astype(np.float32)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    return np.clip(column[:, None] + np.asarray(texture)[..., None], 0, 255).astype(np.uint8)


def draw_part_mask(scene: Scene, size: int) -> UInt8[np.ndarray, "size size"]:
    """The part label of each pixel, 0 for the background and for occluders."""
    mask = Image.new("L", (size, size), 0)
    canvas = ImageDraw.Draw(mask)
    for outline in (*scene.critter, *scene.before):
        if outline.label is not None:
            corners = [tuple(point) for point in (outline.points * size).tolist()]
            canvas.polygon(corners, fill=outline.label)
    return np.asarray(mask)

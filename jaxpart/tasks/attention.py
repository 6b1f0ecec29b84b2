"""Attention heads of every block: their distance, and their affinity to parts.

Distance: the attention-weighted distance between patches, averaged over query patches, relative to the
image's side (Raghu et al., NeurIPS 2021, figure 1). Affinity: the share of the attention of the cls token
(without one, of all patches) on the patch of a part's keypoint. Both use the weights on patches only,
renormalised to a sum of 1.

Parts are usually near the centre, so a head that attends to the centre also attends to parts. As a control,
every affinity comes with that of the same head at the position of the part in another image. For every
block and part one head is reported, chosen on half of the images and tested on the other half.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, UInt8

from jaxpart import devices
from jaxpart.data.pairs import image_size
from jaxpart.data.parts import PartSelection
from jaxpart.data.sets import find_set, retrieval_set
from jaxpart.data.source import Source
from jaxpart.data.squares import square_view
from jaxpart.data.subset import Subset, drawn_images
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.errors import JaxpartError
from jaxpart.features.extract import Extracted
from jaxpart.metrics.bootstrap import ratio_interval
from jaxpart.runs.items import items_file, items_npz
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Key, Row, find_row, select
from jaxpart.runs.table import Section, percent
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.baselines import BASELINE
from jaxpart.tasks.correspondence.places import CONVENTIONS, Grid, cells_of, to_square
from jaxpart.tasks.plans import Plan

_TASK = "attention"
_BATCH = 16
UNIFORM = "uniform"
ELSEWHERE = "affinity elsewhere"
"""The metric of a head's affinity at the position of the part in another image."""


def plans(encoder: FrozenEncoder, config: Any, progress: Progress) -> Iterator[Attention]:
    """Attention on every data set of a configuration: see `jaxpart.tasks.Task`."""
    if not isinstance(encoder, Encoder):
        raise JaxpartError(
            f"{encoder.name} is not a converted ViT, so its attention cannot be read"
        )
    for alias in config.data.sets:
        name, _ = find_set(alias)
        with progress.bar(f"{name}: opening", None):
            source, selection = retrieval_set(name, config.data)
        progress.say_once(source.info.remarks)
        numbers = drawn_images(source, config.attention.images, config.seed)
        if len(numbers) < 4:
            raise JaxpartError(
                f"{name} has {len(numbers)} images; attention needs at least 4, since heads are "
                "chosen on one half and tested on the other"
            )
        images = Subset(source, numbers)
        yield Attention(f"{name}/{_TASK}", (source,), name, encoder, images, selection)


@dataclasses.dataclass(frozen=True)
class Attention(Plan):
    """The attention heads of an encoder on the images of a data set."""

    data: str
    encoder: Encoder
    images: Source
    selection: PartSelection

    def rows(
        self, features: Mapping[str, Extracted], workdir: WorkDir, progress: Progress
    ) -> Iterator[Row]:
        """Yields the "distance" of every block (mean over its heads), of every head ("head0"…) and of
        uniform attention; and for every block and part, of the head with the largest affinity, "affinity"
        with its 95 % interval over images, and `ELSEWHERE`.

        Writes attention_DATA.npz: distances by image, block and head.
        """
        side = self.encoder.image_size[0]
        grid = Grid(self.encoder.grid_of(side, side)[0], side)
        cells = self._cells(grid)
        row = functools.partial(Row, self.data, _TASK)
        yield row("images", len(self.images))
        yield row("points", int((cells >= 0).sum()))
        distance, affinity, elsewhere = self._measure(grid, cells, progress)
        uniform = float(_distances(grid.cells).mean())
        yield row("distance", uniform, head=BASELINE, representation=UNIFORM)
        yield row("affinity", 1 / grid.cells**2, head=BASELINE, representation=UNIFORM)
        per_image = {}
        for block in range(distance.shape[1]):
            name = f"block{block}"
            yield row("distance", float(distance[:, block].mean()), representation=name)
            for head, value in enumerate(distance[:, block].mean(axis=0).tolist()):
                yield row("distance", value, head=f"head{head}", representation=name)
            per_image[Key(self.data, _TASK, "distance", "", name)] = distance[:, block]
        parts = list(self.selection.parts.values())
        for part, group in enumerate(parts):
            showing = np.flatnonzero(cells[:, part] >= 0)
            if len(showing) < 4:
                continue
            chosen, tested = showing[::2], showing[1::2]
            for block in range(distance.shape[1]):
                gain = (affinity - elsewhere)[chosen, block, :, part].mean(axis=0)
                head = int(gain.argmax())
                own = affinity[tested, block, head, part]
                other = elsewhere[tested, block, head, part]
                interval = ratio_interval(np.stack([own, np.ones_like(own)], axis=1))
                best = functools.partial(
                    row, head=f"head{head}", representation=f"block{block}", group=group
                )
                yield best("affinity", float(own.mean()), low=interval.low, high=interval.high)
                yield best(ELSEWHERE, float(other.mean()))
        ids = [self.images.annotation(number).id for number in range(len(self.images))]
        workdir.file(items_file(_TASK, self.data), items_npz({"ids": np.array(ids)}, per_image))

    def _cells(self, grid: Grid) -> Int32[np.ndarray, "image part"]:
        """The patch of each part's first visible keypoint; -1 if it has none."""
        convention = CONVENTIONS["jaxpart"]
        parts = {part: column for column, part in enumerate(self.selection.parts)}
        cells = np.full((len(self.images), len(parts)), -1, np.int32)
        for number in range(len(self.images)):
            points = self.images.annotation(number).keypoints
            if points is None:
                continue
            size = image_size(self.images, number)
            xy = to_square(points.xy, size, grid.side, convention)
            inside = ((points.xy >= 0) & (points.xy <= size)).all(axis=1)
            for part, cell, seen in zip(
                points.part.tolist(),
                cells_of(xy, grid, convention),
                points.visible & inside,
                strict=True,
            ):
                if seen and part in parts and cells[number, parts[part]] < 0:
                    cells[number, parts[part]] = cell
        return cells

    def _measure(
        self, grid: Grid, cells: Int32[np.ndarray, "image part"], progress: Progress
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances [image, block, head]; affinities [image, block, head, part], own and elsewhere."""
        view = square_view(self.images, size=grid.side, layout="centred")
        distances = devices.replicate(_distances(grid.cells))
        positions = np.stack([cells, _elsewhere(cells)], axis=1)
        size = devices.round_up(min(_BATCH, len(positions)))
        share = size // devices.num_processes()
        first = devices.process_index() * share
        batches = []
        with progress.bar(f"{self.data}: attention", len(positions)) as advance:
            for start in range(0, len(positions), size):
                numbers = np.arange(start + first, start + first + share) % len(positions)
                pixels = []
                for image in view.read(numbers.tolist()):
                    if isinstance(image, JaxpartError):
                        raise image
                    pixels.append(image)
                batch = devices.shard((np.stack(pixels), np.maximum(positions[numbers], 0)))
                batches.append(devices.fetch(_heads(self.encoder, *batch, distances)))
                advance(min(size, len(positions) - start))
        distance, affinity = (
            np.concatenate(arrays)[: len(positions)] for arrays in zip(*batches, strict=True)
        )
        return distance, affinity[..., 0, :], affinity[..., 1, :]


def _distances(cells: int) -> Float32[np.ndarray, "patch patch"]:
    """Distances between the centres of patches, relative to the image's side."""
    centres = np.stack(np.divmod(np.arange(cells * cells), cells), axis=1) / cells
    return np.linalg.norm(centres[:, None] - centres, axis=-1).astype(np.float32)


def _elsewhere(cells: Int32[np.ndarray, "image part"]) -> Int32[np.ndarray, "image part"]:
    """For each image, the patch of each part in the next image that shows the part."""
    other = cells.copy()
    for part in range(cells.shape[1]):
        showing = np.flatnonzero(cells[:, part] >= 0)
        other[showing, part] = cells[np.roll(showing, -1), part]
    return other


@jax.jit
def _heads(
    encoder: Encoder,
    images: UInt8[Array, "batch side side 3"],
    positions: Int[Array, "batch 2 part"],
    distances: Float[Array, "patch patch"],
) -> tuple[Float[Array, "batch block head"], Float[Array, "batch block head 2 part"]]:
    """Distance and affinities of every head; the attention weights stay on the device."""
    vit, prefix = encoder.model, len(encoder.prefix)
    tokens, grid = vit.embed(encoder.normalize(images))
    _, weights = vit.transform(tokens, grid)

    def of_block(weights: Float[Array, "batch head query key"]) -> tuple[Array, Array]:
        on_patches = weights[..., prefix:]
        on_patches = on_patches / on_patches.sum(axis=-1, keepdims=True)
        from_patches = on_patches[:, :, prefix:]
        far = (from_patches * distances).sum(axis=-1).mean(axis=-1)
        query = on_patches[:, :, 0] if prefix else from_patches.mean(axis=2)
        flat = jnp.reshape(positions, (len(positions), 1, -1))
        on_parts = jnp.take_along_axis(query, flat, axis=2)
        return far, on_parts.reshape(*on_parts.shape[:2], *positions.shape[1:])

    far, on_parts = zip(*map(of_block, weights), strict=True)
    return jnp.stack(far, axis=1), jnp.stack(on_parts, axis=1)


def section(rows: Sequence[Row]) -> Section:
    """A row for each block: its distance, and its largest affinities."""
    shown = []
    for row in select(rows, task=_TASK, metric="distance", group=""):
        if row.head and row.head != BASELINE:
            continue
        heads = [
            other.value
            for other in select(
                rows,
                data=row.data,
                task=_TASK,
                metric="distance",
                representation=row.representation,
            )
            if other.head
        ]
        parts = []
        for best in select(
            rows, data=row.data, task=_TASK, metric="affinity", representation=row.representation
        ):
            other = find_row(rows, *best.key._replace(metric=ELSEWHERE))
            detail = f" ({best.head}; elsewhere {percent(other.value)})" if other else ""
            parts.append(f"{best.group} {percent(best.value)}{detail}".strip())
        shown.append(
            (
                f"{row.data}, {row.representation}",
                percent(row.value),
                "–" if row.head else f"{percent(min(heads))} to {percent(max(heads))}",
                ", ".join(parts) or "–",
            )
        )
    columns = ("attention", "distance, % of side", "of its heads", "% of attention on a part")
    return Section(columns, shown)

"""Semantic correspondence by every block: PCK of keypoints matched to the most similar token."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpart.data.pairs import PairSet
from jaxpart.data.sets.pairs import ALIASES, open_pairs
from jaxpart.data.squares import square_view
from jaxpart.encoders.encoder import Encoder, with_stride
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.errors import JaxpartError
from jaxpart.features.extract import Extracted, Features
from jaxpart.features.pixels import PIXELS, SIDE, neighbourhoods
from jaxpart.features.representations import check_representations, tokens_grid
from jaxpart.metrics.pck import interchangeable, pck, pck_intervals
from jaxpart.runs.items import items_file, items_npz
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Key, Row, find_row, select
from jaxpart.runs.table import Section, interval, percent
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.baselines import BASELINE
from jaxpart.tasks.correspondence.pair_points import PairPoints
from jaxpart.tasks.correspondence.places import CONVENTIONS, OVERLAPPING, Grid
from jaxpart.tasks.plans import Need, Plan, check_kept_order, side_of

_TASK = "correspondence"
GEOMETRY_AWARE = "geometry-aware"
"""The group of rows of points that could be confused with another visible point of the target."""
SAME_POSITION = "same_position"
_LABELS = {SAME_POSITION: "same position", PIXELS: "pixels"}


def plans(encoder: FrozenEncoder, config: Any, progress: Progress) -> Iterator[Correspondence]:
    """Correspondence on every data set of a configuration: see `jaxpart.tasks.Task`."""
    options = config.correspondence
    encoder = _with_stride(narrowed(encoder), options)
    blocks = tuple(f"block{i}/tokens" for i in range(encoder.depth))
    names = tuple(options.representations) or (*blocks, "tokens")
    check_representations(encoder, names, tokens=True)
    check_kept_order(config, _TASK)
    convention = CONVENTIONS[options.convention]
    if options.soft_window and convention.target != "cells":
        raise JaxpartError(
            f"config.correspondence.soft_window works on cells, and {options.convention} "
            "predicts pixels; set it to 0"
        )
    side = side_of(encoder, options.pixels, "config.correspondence.pixels")
    for alias in options.sets:
        name = ALIASES.get(alias, alias)
        with progress.bar(f"{name}: opening", None):
            pairs = open_pairs(name, config.data, most=options.pairs, seed=config.seed)
        progress.say_once(pairs.source.info.remarks)
        if not pairs.counted.any():
            raise JaxpartError(
                f"no keypoint of {name} is visible in both images of a pair; there is nothing to evaluate"
            )
        if options.reference == "image":
            target = pairs.sizes[pairs.pairs[:, 1]]
            pairs = dataclasses.replace(
                pairs, side=target.max(axis=1).astype(np.float64), reference="image"
            )
        view = square_view(pairs.source, size=side, layout=convention.layout)
        yield Correspondence(
            f"{name}/{_TASK}",
            (pairs.source,),
            name,
            pairs,
            names,
            {name: _grid(encoder, name, side, options.stride) for name in names},
            side,
            len(encoder.prefix),
            options,
            needs={
                "images": Need(encoder, view, (*names, PIXELS), options.batch_size, "raise"),
            },
        )


def metric_of(alpha: float) -> str:
    """The name of PCK at a threshold, with two decimals or as many as it has."""
    return f"PCK@{alpha:.2f}" if round(alpha, 2) == alpha else f"PCK@{alpha}"


def _with_stride(encoder: FrozenEncoder, options: Any) -> FrozenEncoder:
    """The encoder with patches at a stride of `config.correspondence.stride` pixels.

    Raises:
      JaxpartError: The stride cannot be changed, or the convention does not define overlapping patches.
    """
    stride, field = options.stride, "config.correspondence.stride"
    if not stride:
        return encoder
    if not isinstance(encoder, Encoder):
        raise JaxpartError(
            f"{field} is {stride}, and the stride of {encoder.name} cannot be changed; set it to 0"
        )
    if options.convention not in OVERLAPPING:
        raise JaxpartError(
            f"{field} is {stride}, and {options.convention} does not define the positions of "
            f"overlapping patches; set it to 0, or the convention to {' or '.join(OVERLAPPING)}"
        )
    try:
        return with_stride(encoder, stride)
    except JaxpartError as error:
        raise JaxpartError(f"{field} is {stride}, and {error}") from error


def _grid(encoder: FrozenEncoder, name: str, side: int, stride: int) -> Grid:
    """The grid of a representation's patch tokens."""
    rows, columns = tokens_grid(encoder, name, side)
    if rows != columns:
        raise JaxpartError(
            f"correspondence matches tokens on a square grid, and {name} of the {encoder.name} encoder "
            f"has {rows} × {columns} of an image of {side} × {side} pixels"
        )
    patch = encoder.config.patch_size if stride and isinstance(encoder, Encoder) else 0
    return Grid(rows, side, patch)


def rules(encoder: FrozenEncoder, config: Any) -> Mapping[str, str]:
    """The matching rules, see `jaxpart.tasks.Task`."""
    options = config.correspondence
    rule = f"window soft-argmax of {options.soft_window} cells" if options.soft_window else "argmax"
    return {"convention": options.convention, "match": rule}


@dataclasses.dataclass(frozen=True)
class Correspondence(Plan):
    """Keypoint matching between pairs of images.

    Attributes:
      data: Name of the data set in rows.
      pairs: The pairs.
      names: Representations, all tokens of an image.
      grids: Grid of the patch tokens of each representation.
      side: Side of the square images, in pixels.
      prefix: Number of tokens before the patch tokens.
      options: The configuration's `correspondence`.
    """

    data: str
    pairs: PairSet
    names: tuple[str, ...]
    grids: Mapping[str, Grid]
    side: int
    prefix: int
    options: Any

    def rows(
        self, features: Mapping[str, Extracted], workdir: WorkDir, progress: Progress
    ) -> Iterator[Row]:
        """Yields "images", "pairs", "points" and "geometry-aware points"; and for `same_position`, pixels
        and each representation "PCK@0.10" (by point) and "PCK@0.10 by image" for every alpha, with 95 %
        intervals over target images; the first also for each class, as the "mean of classes", and for the
        group "geometry-aware"; and for that group "confused", the share of points matched nearer to
        another visible point of their group than to their own.

        Writes correspondence_DATA.npz (`jaxpart.runs.items`): the pairs, and each pair's share of correct
        points by each representation.
        """
        pairs, options, side = self.pairs, self.options, self.side
        extracted, window = features["images"].features, options.soft_window or None
        points = PairPoints(pairs, CONVENTIONS[options.convention], side)
        row = functools.partial(Row, self.data, _TASK)
        yield row("images", len(pairs.sizes))
        yield row("pairs", len(pairs.pairs))
        yield row("points", int(points.counted.sum()))
        yield row("geometry-aware points", int(self._ambiguous().sum()))
        per_pair: dict[Key, np.ndarray] = {}
        yield from self._scores(points, points.same_position(), BASELINE, SAME_POSITION, per_pair)
        cells = Grid(SIDE, side)
        with progress.bar(f"{self.data}: matching", len(self.names) + 1) as advance:
            colours = extracted[PIXELS]
            matches = points.match(lambda i: neighbourhoods(colours[i]), cells, window)
            yield from self._scores(points, matches, BASELINE, PIXELS, per_pair)
            advance(1)
            for name in self.names:
                read = functools.partial(self._tokens, extracted[name])
                matches = points.match(read, self.grids[name], window)
                yield from self._scores(points, matches, "", name, per_pair)
                advance(1)
        ids = np.array([pairs.source.annotation(i).id for i in range(len(pairs.sizes))])
        items = {
            "pairs": ids[pairs.pairs],
            "images": pairs.pairs[:, 1],
            "options": np.array(
                f"{options.convention}, {pairs.reference}, {options.soft_window}, {side}, {options.stride}"
            ),
        }
        workdir.file(items_file(_TASK, self.data), items_npz(items, per_pair))

    def _tokens(self, features: Features, images: np.ndarray) -> np.ndarray:
        return np.asarray(features[images][:, self.prefix :], np.float32)

    def _ambiguous(self) -> np.ndarray:
        confusable = interchangeable(self.pairs.target_visible, self.pairs.groups)
        return confusable & self.pairs.counted

    def _scores(
        self,
        points: PairPoints,
        matches: np.ndarray,
        head: str,
        name: str,
        per_pair: dict[Key, np.ndarray],
    ) -> Iterator[Row]:
        pairs, row = self.pairs, functools.partial(Row, self.data, _TASK)
        row = functools.partial(row, head=head, representation=name)
        classes, labels = np.unique(pairs.classes, return_inverse=True)
        ambiguous = self._ambiguous()
        for alpha in self.options.alphas:
            metric = metric_of(alpha)
            right = points.right(matches, alpha)
            score = pck(right, points.counted)
            by_point, by_image = pck_intervals(right, points.counted, pairs.pairs[:, 1])
            yield row(metric, score.by_point, low=by_point.low, high=by_point.high)
            by_image_metric = f"{metric} by image"
            yield row(by_image_metric, score.by_image, low=by_image.low, high=by_image.high)
            per_pair[Key(self.data, _TASK, by_image_metric, head, name)] = score.per_pair
            class_scores = [
                pck(right, points.counted & (labels == i)[:, None]) for i in range(len(classes))
            ]
            measured = [subset.by_point for subset in class_scores if subset.points]
            yield row(f"{metric}, mean of classes", float(np.mean(measured)))
            for kind, subset in zip(classes.tolist(), class_scores, strict=True):
                if subset.points:
                    yield row(metric, subset.by_point, group=kind)
            if ambiguous.any():
                subset = pck(right, ambiguous)
                low, high = pck_intervals(right, ambiguous, pairs.pairs[:, 1])[0]
                yield row(metric, subset.by_point, group=GEOMETRY_AWARE, low=low, high=high)
        if ambiguous.any():
            confused = points.confused(matches)
            yield row("confused", pck(confused, ambiguous).by_point, group=GEOMETRY_AWARE)


def section(rows: Sequence[Row]) -> Section:
    """A row for each data set and representation, in percent, baselines first."""
    shown = []
    metrics = dict.fromkeys(
        row.metric
        for row in select(rows, task=_TASK, group="")
        if row.metric.startswith("PCK@") and " " not in row.metric
    )
    middle = "PCK@0.10" if "PCK@0.10" in metrics else next(iter(metrics), "")
    for row in select(rows, task=_TASK, metric=middle, group=""):
        others = [find_row(rows, *row.key._replace(metric=metric)) for metric in metrics]
        by_image = find_row(rows, *row.key._replace(metric=f"{middle} by image"))
        aware = find_row(rows, *row.key._replace(group=GEOMETRY_AWARE))
        results = select(rows, data=row.data, task=_TASK, metric=middle, group="")
        best = max((r for r in results if not r.head), key=lambda r: r.value, default=None)
        shown.append(
            (
                f"{row.data}, {_LABELS.get(row.representation, row.representation)}",
                " / ".join(percent(r.value) for r in others if r),
                interval(row),
                percent(by_image.value) if by_image else "–",
                percent(aware.value) if aware else "–",
                "best" if row is best else "",
            )
        )
    names = " / ".join(metric.removeprefix("PCK") for metric in metrics)
    columns = (f"correspondence, PCK {names}", "by point", f"95 % interval of {middle[3:]}")
    return Section((*columns, "by image", GEOMETRY_AWARE, ""), shown)

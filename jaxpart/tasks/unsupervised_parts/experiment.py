"""Unsupervised parts: clusters of the patch tokens of every block, evaluated with annotated keypoints.

Foreground tokens of the training split are clustered to K parts, and every token of the test split is
assigned to one. As in PDiscoNet, the scores are the agreement of parts and keypoint labels (NMI, ARI), and
the error of keypoints regressed from the parts' centres (docs/tasks/parts.md).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxpart.data.sets import PART_SETS, find_set, part_split, same_parts
from jaxpart.data.squares import square_view
from jaxpart.data.subset import drawn_images
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.positions import Grid
from jaxpart.errors import JaxpartError
from jaxpart.features.extract import Extracted, Features
from jaxpart.features.pixels import PIXELS, SIDE, neighbourhoods
from jaxpart.features.representations import check_representations, tokens_grid
from jaxpart.runs.items import items_file, items_npz
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Key, Row, find_row, select
from jaxpart.runs.table import Section, interval, percent
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.plans import Need, Plan, check_kept_order, side_of
from jaxpart.tasks.unsupervised_parts.annotated import (
    LAYOUT,
    Annotated,
    annotated,
    open_annotated,
)
from jaxpart.tasks.unsupervised_parts.at_keypoints import at_keypoints, part_errors, part_scores
from jaxpart.tasks.unsupervised_parts.clustering import (
    Method,
    PartsOf,
    Read,
    blocks,
    drawn_tokens,
    fit_parts,
    labelled,
    unit,
)
from jaxpart.tasks.unsupervised_parts.foreground import normalised_cut, regridded

_TASK = "unsupervised_parts"
SAME_POSITION = "same_position"
_LABELS = {SAME_POSITION: "same position", PIXELS: "pixels"}
_PIXEL_GRID = SIDE, SIDE
MASKS, SPECTRAL = "masks", "spectral"
_Cells = Bool[np.ndarray, "image cell"]


def plans(encoder: FrozenEncoder, config: Any, progress: Progress) -> Iterator[UnsupervisedParts]:
    """Unsupervised parts on every data set of a configuration: see `jaxpart.tasks.Task`."""
    options = config[_TASK]
    if options.tokens < max(options.parts):
        raise JaxpartError(
            f"config.{_TASK}.tokens is {options.tokens}, fewer than the {max(options.parts)} parts of "
            f"config.{_TASK}.parts to divide them into; raise it"
        )
    every_block = tuple(f"block{i}/tokens" for i in range(encoder.depth))
    names = tuple(options.representations) or (*every_block, "tokens")
    last = every_block[-1] if every_block else "tokens"
    check_kept_order(config, "unsupervised_parts")
    check_representations(encoder, (*names, last), tokens=True)
    side = side_of(encoder, options.pixels, f"config.{_TASK}.pixels")
    grids = {name: tokens_grid(encoder, name, side) for name in (*names, last)}
    for alias in config.data.sets:
        name, entry = find_set(alias)
        if part_split(name, config.data) is None:
            raise JaxpartError(
                f"{name} has no keypoints to compare parts with; choose from {', '.join(PART_SETS)}"
            )
        with progress.bar(f"{name}: opening", None):
            train, test = (open_annotated(name, split, config.data) for split in entry.splits[:2])
            test = test._replace(source=same_parts(test.source, train.source))
        masked = train.mask_of is not None and test.mask_of is not None
        if options.foreground == MASKS and not masked:
            raise JaxpartError(
                f"{name} has no masks of its objects; set config.{_TASK}.foreground to 'spectral', or "
                f"unpack segmentations.tgz in CUB_200_2011"
            )
        cut_by = last if options.foreground == SPECTRAL or not masked else ""
        every_grid = list(dict.fromkeys((*grids.values(), _PIXEL_GRID)))
        splits = {}
        for key, opened in (("fit", train), ("test", test)):
            progress.say_once(opened.source.info.remarks)
            numbers = drawn_images(opened.source, options.images, config.seed)
            subset = opened.subset(np.array(numbers))
            with progress.bar(f"{subset.name}: annotations", len(subset.source)) as advance:
                splits[key] = annotated(subset, side, every_grid, advance)
        needed = tuple(dict.fromkeys((*names, *((cut_by,) if cut_by else ()), PIXELS)))
        yield UnsupervisedParts(
            what=f"{name}/{_TASK}",
            sources=tuple(split.source for split in splits.values()),
            data=name,
            fit=splits["fit"],
            test=splits["test"],
            names=names,
            grids=grids,
            prefix=len(encoder.prefix),
            cut_by=cut_by,
            reference="image" if test.boxes is None else "box",
            options=options,
            seed=config.seed,
            needs={
                key: Need(
                    encoder,
                    square_view(split.source, size=side, layout=LAYOUT),
                    needed,
                    options.batch_size,
                    "raise",
                )
                for key, split in splits.items()
            },
        )


class _Subject(NamedTuple):
    """Tokens to divide into parts."""

    name: str
    grid: Grid
    channels: int
    methods: tuple[Method, ...]
    fit: Read
    test: Read


@dataclasses.dataclass(frozen=True)
class UnsupervisedParts(Plan):
    """Clusters of tokens, evaluated with keypoints.

    Attributes:
      data: Name of the data set in rows.
      fit: Training images, for parts and for the regression to keypoints.
      test: Test images.
      names: Representations, all tokens of an image.
      grids: Grid of the patch tokens of each representation.
      prefix: Number of tokens before the patch tokens.
      cut_by: The representation whose normalised cut is the foreground; "": masks.
      reference: Unit of the keypoint errors: the "box" or the "image".
      options: The configuration's `unsupervised_parts`.
      seed: Seed of sampling and restarts.
    """

    data: str
    fit: Annotated
    test: Annotated
    names: tuple[str, ...]
    grids: Mapping[str, Grid]
    prefix: int
    cut_by: str
    reference: str
    options: Any
    seed: int

    def rows(
        self, features: Mapping[str, Extracted], workdir: WorkDir, progress: Progress
    ) -> Iterator[Row]:
        """Yields "fit images", "images" and "keypoints"; the share of "foreground" tokens, with the head
        "masks" or "spectral", and for the latter its "foreground IoU" if there are masks; and for
        `same_position`, pixels and each representation, with each method and number of parts (the head,
        "kmeans@8"): "NMI" and "ARI" of parts and background at keypoints, "FG-NMI" and "FG-ARI" of parts
        only, and "keypoint error, box" relative to the box ("…, image" without boxes), with 95 %
        intervals over images.

        Writes unsupervised_parts_DATA.npz (`jaxpart.runs.items`): the error of every keypoint of the test
        split; and some of its images, "pictures" [picture, side, side, 3], with the part of each token,
        "parts" [picture, row, column], K for the background.
        """
        row = functools.partial(Row, self.data, _TASK)
        yield row("fit images", len(self.fit.source))
        yield row("images", len(self.test.source))
        yield row("keypoints", len(self.test.xy))
        splits = {"fit": self.fit, "test": self.test}
        foreground = {}
        for split, images in splits.items():
            foreground[split] = self._foreground(split, images, features[split].features, progress)
        grid = self.grids[self.cut_by or self.names[0]]
        inside = self.test.inside(grid)
        head = SPECTRAL if self.cut_by else MASKS
        yield row("foreground", float(foreground["test"][grid][inside].mean()), head)
        if self.cut_by and self.test.masks is not None:
            truth, cut = self.test.masks[grid], foreground["test"][grid]
            union = (truth | cut).sum()
            yield row("foreground IoU", float((truth & cut).sum() / max(union, 1)), head)
        subjects = list(self._subjects(*(features[split].features for split in splits)))
        count = sum(len(subject.methods) for subject in subjects) * len(self.options.parts)
        last = len(self.test.source) - 1
        drawn = np.unique(np.linspace(0, last, self.options.pictures).round().astype(int))
        arrays: dict[Key, np.ndarray] = {}
        with progress.bar(f"{self.data}: parts", count) as advance:
            for subject in subjects:
                fit, test = foreground["fit"][subject.grid], foreground["test"][subject.grid]
                models = self._fitted(subject, fit)
                labels = [
                    labelled(models, read, images, subject.grid, subject.channels)
                    for read, images in ((subject.fit, len(fit)), (subject.test, len(test)))
                ]
                for (method, parts), of_fit, of_test in zip(
                    models, *(by_model.values() for by_model in labels), strict=True
                ):
                    head = f"{method}@{parts}"
                    key = Key(self.data, _TASK, "parts", head, subject.name)
                    shown = np.where(test[drawn], of_test[drawn], parts)
                    arrays[key] = shown.reshape(-1, *subject.grid).astype(np.int16)
                    fitted = at_keypoints(self.fit, of_fit, fit, subject.grid, parts)
                    tested = at_keypoints(self.test, of_test, test, subject.grid, parts)
                    errors = part_errors(self.fit, fitted, self.test, tested)
                    if not np.isnan(errors).all():  # otherwise no image shows exactly one object
                        of_keypoints = errors[self.test.image, self.test.part]
                        arrays[key._replace(metric=self._error)] = of_keypoints
                    head_row = functools.partial(row, head=head, representation=subject.name)
                    yield from part_scores(head_row, self.test, tested, errors, self._error)
                    advance(1)
        self._write_items(workdir, arrays, drawn)

    def _write_items(
        self, workdir: WorkDir, arrays: Mapping[Key, np.ndarray], drawn: Int[np.ndarray, " picture"]
    ) -> None:
        view = self.needs["test"].view
        items = {
            "ids": np.array(view.ids, np.str_)[self.test.image],
            "images": self.test.image,
            "keypoints": self.test.part,
            "options": np.array(f"{self.reference}, {SPECTRAL if self.cut_by else MASKS}"),
            "pictures": np.array(list(map(np.asarray, view.read(drawn.tolist()))), np.uint8),
        }
        workdir.file(items_file(_TASK, self.data), items_npz(items, arrays))

    @property
    def _error(self) -> str:
        return f"keypoint error, {self.reference}"

    def _foreground(
        self, split: str, images: Annotated, features: Mapping[str, Features], progress: Progress
    ) -> Mapping[Grid, _Cells]:
        """The foreground of a split in every grid."""
        if not self.cut_by:
            assert images.masks is not None
            return images.masks
        own_grid = self.grids[self.cut_by]
        inside = images.inside(own_grid)
        foreground = np.zeros(inside.shape, bool)
        read = self._reader(features[self.cut_by])
        values = inside.shape[1] * features[self.cut_by].shape[-1]
        with progress.bar(f"{self.data} ({split}): foreground", len(foreground)) as advance:
            for block in blocks(len(foreground), values):
                for number, tokens in zip(range(block.start, block.stop), read(block), strict=True):
                    foreground[number] = normalised_cut(tokens, inside[number], own_grid)
                    advance(1)
        return {
            grid: regridded(foreground, own_grid, grid, images.side)
            for grid in (*self.grids.values(), _PIXEL_GRID)
        }

    def _reader(self, features: Features) -> Read:
        return lambda images: unit(np.asarray(features[images][:, self.prefix :], np.float32))

    def _subjects(
        self, fit: Mapping[str, Features], test: Mapping[str, Features]
    ) -> Iterator[_Subject]:
        grid = self.grids[self.names[0]]
        baseline: tuple[Method, ...] = ("kmeans",)
        positions = (
            functools.partial(_positions, images, grid) for images in (self.fit, self.test)
        )
        yield _Subject(SAME_POSITION, grid, 2, baseline, *positions)
        colours = (
            lambda images, split=split: neighbourhoods(split[PIXELS][images])
            for split in (fit, test)
        )
        yield _Subject(PIXELS, _PIXEL_GRID, 27, baseline, *colours)
        for name in self.names:
            read = (self._reader(split[name]) for split in (fit, test))
            yield _Subject(
                name, self.grids[name], fit[name].shape[-1], tuple(self.options.methods), *read
            )

    def _fitted(self, subject: _Subject, where: _Cells) -> dict[tuple[Method, int], PartsOf]:
        """Fits the parts, by method and number of parts."""
        options, seed = self.options, self.seed
        tokens = drawn_tokens(subject.fit, where, subject.channels, options.tokens, seed)
        if len(tokens) < max(options.parts):
            raise JaxpartError(
                f"the foreground of {self.data} ({self.fit.source.info.split}) has {len(tokens)} tokens, "
                f"too few for {max(options.parts)} parts; lower config.{_TASK}.parts or give more images"
            )
        return {
            (method, parts): fit_parts(tokens, method, parts, options.restarts, seed)
            for parts in options.parts
            for method in subject.methods
        }


def _positions(images: Annotated, grid: Grid, block: slice) -> np.ndarray:
    """Position of each cell's centre relative to the sides of each image."""
    rows, columns = ((np.arange(cells) + 0.5) * (images.side / cells) for cells in grid)
    cell_centres = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(1, -1, 2)
    left, size = images.pictures[block, None, :2], images.pictures[block, None, 2:]
    return ((cell_centres - left) / size).astype(np.float32)


def rules(encoder: FrozenEncoder, config: Any) -> Mapping[str, str]:
    """Normalisation of tokens for each method, see `jaxpart.tasks.Task`."""
    words = {"kmeans": "tokens of length 1", "nmf": "tokens of length 1, clipped at 0"}
    return {method: words[method] for method in config[_TASK].methods}


def section(rows: Sequence[Row]) -> Section:
    """For each data set and head the baselines, the representation with the highest NMI, and the last one,
    in percent."""
    shown = []
    heads = dict.fromkeys((row.data, row.head) for row in select(rows, task=_TASK, metric="NMI"))
    for data, head in heads:
        results = select(rows, data=data, task=_TASK, metric="NMI", head=head)
        encoder_rows = [row for row in results if row.representation not in _LABELS]
        best = max(encoder_rows, key=lambda row: row.value, default=None)
        for row in results:
            if row in encoder_rows and row is not best and row is not encoder_rows[-1]:
                continue
            key = row.key
            cells = [find_row(rows, *key._replace(metric=m)) for m in ("ARI", "FG-NMI")]
            errors = (
                find_row(rows, *key._replace(metric=f"keypoint error, {reference}"))
                for reference in ("box", "image")
            )
            error = next(filter(None, errors), None)
            shown.append(
                (
                    f"{data}, {head}, {_LABELS.get(row.representation, row.representation)}",
                    percent(row.value),
                    interval(row),
                    *(percent(cell.value) if cell else "–" for cell in (*cells, error)),
                    f"best of {len(encoder_rows)}" if row is best else "",
                )
            )
    columns = ("unsupervised parts", "NMI", "95 % interval", "ARI", "FG-NMI", "keypoint error", "")
    return Section(columns, shown)

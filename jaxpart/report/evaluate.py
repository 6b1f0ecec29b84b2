"""Patch sets of finished runs: each run's data encoded again by its encoder, or read from the cache."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxpart.cpu.memory import memory_limit
from jaxpart.data.images import Pixels, decode
from jaxpart.data.parts import Patch, part_patches
from jaxpart.data.sets import find_set, open_set, part_split, retrieval_set
from jaxpart.data.source import Source
from jaxpart.data.subset import drawn_images
from jaxpart.data.views import View, patch_view
from jaxpart.data.windows import ENLARGED, PER_SIDE, window_picture, window_view
from jaxpart.encoders.configured import check_runnable, configured_encoder, permutation_seed
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.errors import JaxpartError
from jaxpart.features import extract as features
from jaxpart.features.cache import size_text
from jaxpart.features.representations import has
from jaxpart.metrics.average_precision import average_precision
from jaxpart.report.neighbours import nearest_patches
from jaxpart.report.patch_sets import NEIGHBOURS, Pair, PatchSet
from jaxpart.report.runs import Run
from jaxpart.runs.progress import Progress
from jaxpart.runs.workdir import check_same_weights, check_unchanged

_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much of a run's data to show; the sample is drawn by the run's data seed.

    Attributes:
      patches: Part patches per data set; 0: all.
      images: Images per data set that are cut into windows; 0: none.
      quick: Whether to encode nothing, and leave out what the feature cache lacks.
      picture: Longer side of the shown images in pixels.
      thumbnail: Side of the shown patches in pixels.
      functions: Whether to run encoders that are functions, which a stranger's run may name.
    """

    patches: int = 2000
    images: int = 40
    quick: bool = False
    picture: int = 224
    thumbnail: int = 64
    functions: bool = False


class OpenedRun:
    """A run with its encoder and its data, both opened when needed."""

    def __init__(self, run: Run, *, functions: bool) -> None:
        """Opens nothing; for `functions` see `Limits`."""
        self.run = run
        self._functions = functions
        self.config = ConfigDict(dict(run.config))

    @functools.cached_property
    def encoder(self) -> FrozenEncoder:
        """The run's encoder. Raises `JaxpartError` if it is missing, may not run, or has changed since."""
        check_runnable(self.config, allowed=self._functions)
        encoder = configured_encoder(self.config)
        if not encoder.digest:
            raise JaxpartError(
                f"{encoder.name} has no version, so it may have changed since the run; run it again with "
                "--config.encoder.version"
            )
        check_same_weights(self.run.path, self.run.encoder.get("digest"), encoder.digest)
        return encoder

    @functools.cached_property
    def retriever(self) -> FrozenEncoder:
        """The encoder, with its projection cut to few channels."""
        return narrowed(self.encoder)

    @property
    def representations(self) -> tuple[str, ...]:
        """The representations it retrieved with, or else all that its encoder has."""
        names = ("embedding", "projection")
        if "retrieval" in self.config:
            names = tuple(self.config.retrieval.representations)
            if isinstance(self.encoder, Encoder):
                return names
        return tuple(name for name in names if has(self.encoder, name))

    @property
    def data_set(self) -> str:
        """Its first data set. Raises `JaxpartError` if it only has data sets made for its task."""
        if not self.config.data.sets:
            raise JaxpartError("its config.data.sets is empty, so there are no images to show")
        return self.config.data.sets[0]

    def check_data(self, source: Source) -> None:
        """Raises `JaxpartError` if retrieval ran on other images or annotations than a source has now."""
        task = f"{source.info.name}/retrieval"
        check_unchanged(self.run.path, self.run.identity, task, source)

    @property
    def size(self) -> int:
        """Side of a part patch in pixels."""
        chosen = self.config.retrieval.patch_pixels if "retrieval" in self.config else 0
        return chosen or self.encoder.image_size[0]

    def pairs(self, view: View, parts: Sequence[str] | None, progress: Progress) -> Iterator[Pair]:
        """The nearest neighbours among the items of a view, for each of its representations."""
        extracted = features.extract(
            self.retriever,
            view,
            self.representations,
            self.config.features,
            progress,
            batch_size=_BATCH,
        )
        for name, vectors in extracted.features.items():
            count = len(extracted.kept)
            with progress.bar(f"{self.run.label}: nearest by {name}", count) as advance:
                index, similarity = nearest_patches(vectors, NEIGHBOURS, advance)
            ap, mean = None, None
            if parts is not None:
                exclude_self = "retrieval" in self.config and self.config.retrieval.exclude_self
                try:
                    with progress.bar(f"{self.run.label}: AP by {name}", count) as advance:
                        result = average_precision(
                            vectors, parts, exclude_self=exclude_self, advance=advance
                        )
                    ap, mean = result.per_query, result.ap
                except JaxpartError:  # with exclude_self, if no part has two patches
                    pass
            yield Pair(self.run.label, name, self.run.caveat, index, similarity, ap, mean)


@dataclasses.dataclass(frozen=True)
class Work:
    """A patch set whose neighbours are not computed yet.

    Attributes:
      shown: The set, without pairs.
      names: Each patch's part; None for windows.
      views: The inputs of each run's encoder.
    """

    shown: PatchSet
    names: Sequence[str] | None
    views: Sequence[tuple[OpenedRun, View]]

    def done(self, progress: Progress) -> PatchSet:
        """The set with its pairs. Raises `JaxpartError` if features cannot be computed."""
        pairs = [
            pair for opened, view in self.views for pair in opened.pairs(view, self.names, progress)
        ]
        return dataclasses.replace(self.shown, pairs=pairs)


def prepared(
    opened_runs: Sequence[OpenedRun], limits: Limits, progress: Progress
) -> Iterator[Work | str]:
    """Yields all patch sets of runs before anything is encoded, or why one is missing.

    Runs on the same data share a patch set.
    """
    groups: dict[str, list[OpenedRun]] = {}
    for opened in opened_runs:
        data = {key: value for key, value in opened.config.data.to_dict().items() if key != "sets"}
        for name in opened.config.data.sets:
            groups.setdefault(json.dumps([name, data], default=str), []).append(opened)
    for key, members in groups.items():
        name = json.loads(key)[0]
        several = sum(json.loads(other)[0] == name for other in groups) > 1
        title = f"{name} of {', '.join(m.run.label for m in members)}" if several else name
        for kind, build, wanted in (
            ("part patches", _parts, part_split(name, members[0].config.data)),
            ("windows", _windows, limits.images),
        ):
            if not wanted:
                continue
            try:
                yield build(f"{title}, {kind}", name, members, limits, progress)
            except JaxpartError as error:
                yield f"{title}, {kind}: skipped, {error}"


def _parts(
    title: str, name: str, members: Sequence[OpenedRun], limits: Limits, progress: Progress
) -> Work:
    data = members[0].config.data
    with progress.bar(f"{title}: opening, finding part patches", None):
        source, selection = retrieval_set(name, data)
        all_patches = part_patches(source, selection)
        for opened in members:
            opened.check_data(source)
    patches = _drawn(all_patches, limits.patches, data.seed)
    if not patches:
        raise JaxpartError(f"{name} has no part patches")
    _check_memory(patches, limits)
    thumbnail_view = patch_view(source, patches, size=limits.thumbnail, on_error="skip")
    thumbnails: list[Pixels] = []
    readable: list[Patch] = []
    with progress.bar(f"{title}: pictures", len(patches)) as advance:
        for patch, pixels in zip(patches, thumbnail_view.read(range(len(patches))), strict=True):
            advance(1)
            if not isinstance(pixels, JaxpartError):  # otherwise the run has reported it
                thumbnails.append(pixels)
                readable.append(patch)
    patches = readable
    if not patches:
        raise JaxpartError(f"no image of {name} can be read")
    numbers = sorted({patch.index for patch in patches})
    pictures, scale = [], {}
    with progress.bar(f"{title}: images", len(numbers)) as advance:
        for number in numbers:
            record = source[number]
            picture = decode(record.image, record.annotation.id)
            scale[number] = picture.size * 2
            picture.thumbnail((limits.picture, limits.picture), Image.Resampling.BICUBIC)
            pictures.append(picture)
            advance(1)
    order = {number: slot for slot, number in enumerate(numbers)}
    label = {part: slot for slot, part in enumerate(selection.parts)}
    names = [selection.parts[patch.part] for patch in patches]
    views = [
        patch_view(source, patches, size=opened.size, permuted=permutation_seed(opened.config))
        for opened in members
    ]
    shown = PatchSet(
        name=title,
        kind="parts",
        available=len(all_patches),
        images=[source.annotation(number).id for number in numbers],
        pictures=pictures,
        image=np.array([order[patch.index] for patch in patches], np.int32),
        box=np.array([patch.box for patch in patches]) / [scale[p.index] for p in patches],
        parts=tuple(selection.parts.values()),
        part=np.array([label[patch.part] for patch in patches], np.int32),
        thumbnails=thumbnails,
    )
    return Work(shown, names, list(zip(members, views, strict=True)))


def _check_memory(patches: Sequence[Patch], limits: Limits) -> None:
    """Raises `JaxpartError` if the pictures of patches and of their images do not fit in memory."""
    images = len({patch.index for patch in patches})
    needed = 3 * limits.thumbnail**2 * len(patches) + 4 * limits.picture**2 * images
    if needed > (memory := memory_limit()):
        raise JaxpartError(
            f"pictures of {len(patches):,} patches in {images:,} images take up to {size_text(needed)}, "
            f"more than the {size_text(memory)} of memory; show fewer with --patches"
        )


def _drawn(patches: Sequence[Patch], limit: int, seed: int) -> list[Patch]:
    """Draws images until they have enough patches, at least one; returns all their patches, in order."""
    if not limit or len(patches) <= limit:
        return list(patches)
    by_image: dict[int, list[Patch]] = {}
    for patch in patches:
        by_image.setdefault(patch.index, []).append(patch)
    images = list(by_image)
    chosen: list[int] = []
    count = 0
    for slot in np.random.default_rng(seed).permutation(len(images)).tolist():
        count += len(by_image[images[slot]])
        if chosen and count > limit:
            break
        chosen.append(images[slot])
    return [patch for image in sorted(chosen) for patch in by_image[image]]


def _windows(
    title: str, name: str, members: Sequence[OpenedRun], limits: Limits, progress: Progress
) -> Work:
    source = picture_source(name, members[0].config.data)
    numbers = drawn_images(source, limits.images, members[0].config.data.seed)
    per_image = PER_SIDE**2
    slot = np.arange(per_image)
    corner = np.stack([slot % PER_SIDE, slot // PER_SIDE], axis=1) / (2 * ENLARGED)
    box = np.concatenate([corner, corner + 1 / ENLARGED], axis=1)
    views = [window_view(source, numbers, size=opened.encoder.image_size[0]) for opened in members]
    size = members[0].encoder.image_size[0]
    pictures = []
    with progress.bar(f"{title}: images", len(numbers)) as advance:
        for number in numbers:
            picture = window_picture(source, number, size)
            pictures.append(
                picture.resize((limits.picture, limits.picture), Image.Resampling.BICUBIC)
            )
            advance(1)
    shown = PatchSet(
        name=title,
        kind="windows",
        available=len(source) * per_image,
        images=[source.annotation(number).id for number in numbers],
        pictures=pictures,
        image=np.repeat(np.arange(len(numbers), dtype=np.int32), per_image),
        box=np.tile(box, (len(numbers), 1)),
        parts=(),
        part=np.full(len(numbers) * per_image, -1, np.int32),
        thumbnails=None,
    )
    return Work(shown, None, list(zip(members, views, strict=True)))


def picture_source(name: str, data: Any) -> Source:
    """The split to take pictures from: the one for retrieval, or else the last."""
    key, entry = find_set(name)
    return open_set(key, entry.retrieval or entry.splits[-1], data)

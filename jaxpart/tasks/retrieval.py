"""Part retrieval (paper, section 4.1; docs/protocol.md): does a part retrieve the same part elsewhere?"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpart.data.parts import PartSelection, Patch
from jaxpart.data.sets import find_set, retrieval_set
from jaxpart.data.source import Source
from jaxpart.data.views import patch_ids
from jaxpart.encoders.configured import untrained_twin
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.errors import JaxpartError
from jaxpart.features.extract import Extracted
from jaxpart.features.pixels import PIXELS
from jaxpart.metrics.average_precision import RetrievalResult, average_precision
from jaxpart.metrics.bootstrap import retrieval_intervals
from jaxpart.metrics.chance import chance_retrieval
from jaxpart.metrics.similarities import Rows
from jaxpart.runs.items import items_file, items_npz
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Key, Row, find_row, select
from jaxpart.runs.table import Section, interval, percent
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks import baselines
from jaxpart.tasks.patches import find_patches, need_patches
from jaxpart.tasks.plans import Plan

_TASK = "retrieval"


def plans(encoder: FrozenEncoder, config: Any, progress: Progress) -> Iterator[Retrieval]:
    """Part retrieval on every data set of a configuration: see `jaxpart.tasks.Task`."""
    for alias in config.data.sets:
        name, _ = find_set(alias)
        with progress.bar(f"{name}: opening", None):
            source, selection = retrieval_set(name, config.data)
        yield plan(encoder, name, source, selection, config, progress)


def rules(encoder: FrozenEncoder, config: Any) -> dict[str, str]:
    """Deviations from the paper's retrieval, see `jaxpart.tasks.Task`."""
    excluded = config.retrieval.exclude_self
    return {"queries": "do not retrieve themselves (the paper's do)"} if excluded else {}


def plan(
    encoder: FrozenEncoder,
    data: str,
    source: Source,
    selection: PartSelection,
    config: Any,
    progress: Progress,
) -> Retrieval:
    """Part retrieval on one data set.

    Raises:
      JaxpartError: There are no patches, or the encoder lacks a representation.
    """
    names = tuple(config.retrieval.representations)
    patches = find_patches(source, selection, progress)
    narrow = narrowed(encoder)
    needs = {"trained": need_patches(narrow, source, patches, (*names, PIXELS), config)}
    if config.retrieval.untrained:
        twin = narrowed(untrained_twin(encoder, config))
        needs["untrained"] = need_patches(twin, source, patches, names, config)
    return Retrieval(
        f"{data}/{_TASK}",
        (source,),
        data,
        names,
        patches,
        [selection.parts[patch.part] for patch in patches],
        config.retrieval.exclude_self,
        needs=needs,
    )


def section(rows: Sequence[Row]) -> Section:
    """A row per data set and representation, in percent, followed by baselines."""
    shown = []
    of_parts: dict[Key, list[str]] = {}
    for row in select(rows, task=_TASK, metric="AP"):
        if row.group:
            of_parts.setdefault(row.key._replace(group=""), []).append(
                f"{row.group} {percent(row.value)}"
            )
    for row in select(rows, task=_TASK, metric="AP", group=""):
        remark = ", ".join(of_parts.get(row.key, ()))
        best = None if row.head else baselines.strongest(rows, row.data, _TASK)
        if best and row.value <= best[1]:
            remark = f"NOT ABOVE {best[0]} ({percent(best[1])}); {remark}"
        patches = find_row(rows, row.data, _TASK, "patches")
        mean = find_row(rows, *row.key._replace(metric="mAP"))
        shown.append(
            (
                f"{row.data}, {baselines.label(row.key)}",
                str(patches.value) if patches else "–",
                percent(row.value),
                interval(row) or "exact",
                percent(mean.value) if mean else "–",
                remark,
            )
        )
    return Section(
        ("part retrieval", "patches", "AP", "95 % interval", "mAP", "AP of each part"), shown
    )


@dataclasses.dataclass(frozen=True)
class Retrieval(Plan):
    """Retrieval among all part patches of a data set."""

    data: str
    names: tuple[str, ...]
    patches: Sequence[Patch]
    parts: Sequence[str]
    exclude_self: bool

    def rows(
        self, features: Mapping[str, Extracted], workdir: WorkDir, progress: Progress
    ) -> Iterator[Row]:
        """Yields "images" of the data set, "patches", "skipped" and, for each representation, "AP" and
        "mAP" with 95 % intervals over the queries' images, and the "AP" of each part. Then the same for
        each of `jaxpart.tasks.baselines`; chance is exact, without interval.

        Writes retrieval_DATA.npz (`jaxpart.runs.items`): ids, parts and images of the queries, and each
        query's AP by every representation.

        Raises:
          JaxpartError: Different images were readable for the untrained encoder.
        """
        trained = features["trained"]
        patches = [self.patches[i] for i in trained.kept]
        parts = [self.parts[i] for i in trained.kept]
        images = [patch.index for patch in patches]
        per_query: dict[Key, np.ndarray] = {}
        yield Row(self.data, _TASK, "images", len(self.sources[0]))
        yield Row(self.data, _TASK, "patches", len(patches))
        yield Row(self.data, _TASK, "skipped", len(trained.skipped))

        def retrieve(vectors: Rows, representation: str, head: str = "") -> Iterator[Row]:
            key = Key(self.data, _TASK, "AP", head, representation)
            with progress.bar(f"{self.data}: retrieving by {key.series}", len(parts)) as advance:
                result = average_precision(
                    vectors, parts, exclude_self=self.exclude_self, advance=advance
                )
            per_query[key] = result.per_query
            return _rows(key, result, parts, images)

        for name in self.names:
            yield from retrieve(trained.features[name], name)
        chance = Key(self.data, _TASK, "AP", baselines.BASELINE, "chance")
        yield from _rows(chance, chance_retrieval(parts, exclude_self=self.exclude_self))
        for name, vectors in baselines.centred_pixels(trained.features[PIXELS]):
            yield from retrieve(vectors, name, baselines.BASELINE)
        if "untrained" in features:
            untrained = features["untrained"]
            if not np.array_equal(untrained.kept, trained.kept):
                raise JaxpartError(
                    f"a different set of images of {self.data} could be read this time; run again"
                )
            for name in self.names:
                yield from retrieve(untrained.features[name], name, baselines.UNTRAINED)
        items = {
            "ids": np.array(patch_ids(patches)),
            "parts": np.array(parts),
            "images": np.array(images),
            "exclude_self": np.array(self.exclude_self),
        }
        workdir.file(items_file(_TASK, self.data), items_npz(items, per_query))


def _rows(
    key: Key,
    result: RetrievalResult,
    parts: Sequence[str] = (),
    images: Sequence[int] = (),
) -> Iterator[Row]:
    """Yields the rows of one representation, whose AP has this key; given `images`, with intervals."""
    row = functools.partial(
        Row, key.data, key.task, head=key.head, representation=key.representation
    )
    ends = retrieval_intervals(result.per_query, parts, images) if images else (None, None)
    for metric, value, end in zip(("AP", "mAP"), (result.ap, result.mean_ap), ends, strict=True):
        yield row(metric, value, low=end and end.low, high=end and end.high)
    for part, value in result.per_part.items():
        yield row("AP", value, group=part)

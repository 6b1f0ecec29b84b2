"""Part retrieval (paper, section 4.1; docs/protocol.md): does a part find that of other objects?"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxpart.data.parts import PartSelection
from jaxpart.data.sets import find_set, retrieval_set
from jaxpart.data.source import Source
from jaxpart.data.views import patch_ids
from jaxpart.encoders.configured import untrained_twin
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.errors import JaxpartError
from jaxpart.features.pixels import PIXELS
from jaxpart.metrics.average_precision import RetrievalResult, average_precision
from jaxpart.metrics.bootstrap import retrieval_intervals
from jaxpart.metrics.chance import chance_retrieval
from jaxpart.metrics.similarities import Rows
from jaxpart.runs.items import items_npz
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Key, Row, one, select
from jaxpart.runs.table import Section, interval, percent
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks import baselines
from jaxpart.tasks.patches import encoded_patches, patch_representations

_TASK = "retrieval"


def run(encoder: Encoder, config: Any, workdir: WorkDir, progress: Progress) -> Iterator[Row]:
    """Part retrieval on every data set of a configuration: see `jaxpart.tasks.Task`.

    Writes retrieval_DATA.npz: ids, parts and images of the queries, and the AP of each by every
    representation (`jaxpart.runs.items`).
    """
    for alias in config.data.sets:
        name, _ = find_set(alias)
        with progress.bar(f"{name}: opening", None):
            source, selection = retrieval_set(name, config.data)
            workdir.reads(f"{name}/{_TASK}", source)
        items: dict[str, np.ndarray] = {}
        found: dict[Key, np.ndarray] = {}
        yield from part_retrieval(encoder, name, source, selection, config, progress, items, found)
        workdir.file(f"{_TASK}_{name}.npz", items_npz(items, found))


def section(rows: Sequence[Row]) -> Section:
    """A row for each data set and representation, in percent; then its baselines."""
    shown = []
    of_parts: dict[Key, list[str]] = {}
    for row in select(rows, task=_TASK, metric="AP"):
        if row.group:
            of_parts.setdefault(row.key._replace(group=""), []).append(
                f"{row.group} {percent(row.value)}"
            )
    for row in select(rows, task=_TASK, metric="AP", group=""):
        said = ", ".join(of_parts.get(row.key, ()))
        best = None if row.head else baselines.strongest(rows, row.data, _TASK)
        if best and row.value <= best[1]:
            said = f"NOT ABOVE {best[0]} ({percent(best[1])}); {said}"
        patches = one(rows, row.data, _TASK, "patches")
        mean = one(rows, *row.key._replace(metric="mAP"))
        shown.append(
            (
                f"{row.data}, {baselines.label(row.key)}",
                str(patches.value) if patches else "–",
                percent(row.value),
                interval(row) or "exact",
                percent(mean.value) if mean else "–",
                said,
            )
        )
    return Section(
        ("part retrieval", "patches", "AP", "95 % interval", "mAP", "AP of each part"), shown
    )


def part_retrieval(
    encoder: Encoder,
    data: str,
    source: Source,
    selection: PartSelection,
    config: Any,
    progress: Progress,
    items: dict[str, np.ndarray] | None = None,
    kept: dict[Key, np.ndarray] | None = None,
) -> Iterator[Row]:
    """Retrieves every part patch of a data set with every other.

    Args:
      encoder: The frozen encoder.
      data: What rows call the data set.
      source: The data set.
      selection: Its parts.
      config: The whole configuration, of which `retrieval` has `representations`, `exclude_self` and
        `untrained`; see `encoded_patches` too.
      progress: Shows how far it is.
      items: Filled with what the queries are, see `run`.
      kept: Filled with the AP of each query.

    Yields:
      "images" of the data set, "patches", "skipped" and, for each representation, "AP" and "mAP" as
      shares of 1 with 95 % intervals over the images that queries are of, and the "AP" of each part.
      Then the same of each of `jaxpart.tasks.baselines`; that of chance is exact, without interval.

    Raises:
      JaxpartError: There are no patches, an image cannot be read, or a representation is unknown.
    """
    names, exclude_self = config.retrieval.representations, config.retrieval.exclude_self
    few = narrowed(encoder)
    wanted = patch_representations(few, config)
    found, patches = encoded_patches(few, source, selection, wanted, config, progress)
    yield Row(data, _TASK, "images", len(source))
    yield Row(data, _TASK, "patches", len(patches))
    yield Row(data, _TASK, "skipped", len(found.skipped))
    images = [patch.index for patch in patches]
    parts = [selection.parts[patch.part] for patch in patches]
    items, kept = {} if items is None else items, {} if kept is None else kept
    items["ids"] = np.array(patch_ids(patches))
    items["parts"], items["images"] = np.array(parts), np.array(images)
    items["exclude_self"] = np.array(exclude_self)

    def retrieved(vectors: Rows, representation: str, head: str = "") -> Iterator[Row]:
        key = Key(data, _TASK, "AP", head, representation)
        with progress.bar(f"{source.info.name}: retrieving by {key.series}", len(parts)) as advance:
            result = average_precision(vectors, parts, exclude_self=exclude_self, advance=advance)
        kept[key] = result.per_query
        return _rows(key, result, parts, images)

    for name in names:
        yield from retrieved(found.features[name], name)
    chance = Key(data, _TASK, "AP", baselines.BASELINE, "chance")
    yield from _rows(chance, chance_retrieval(parts, exclude_self=exclude_self))
    for name, vectors in baselines.pixel_baselines(found.features[PIXELS]):
        yield from retrieved(vectors, name, baselines.BASELINE)
    if config.retrieval.untrained:
        twin = narrowed(untrained_twin(encoder, config))
        seen, those = encoded_patches(twin, source, selection, names, config, progress)
        if those != patches:
            raise JaxpartError(
                f"not the same images of {source.info.name} can be read as before; run again"
            )
        for name in names:
            yield from retrieved(seen.features[name], name, baselines.UNTRAINED)


def _rows(
    key: Key,
    result: RetrievalResult,
    parts: Sequence[str] = (),
    images: Sequence[int] = (),
) -> Iterator[Row]:
    """The results of a representation, whose AP has the key; with intervals where the queries' images are
    given."""
    row = functools.partial(
        Row, key.data, key.task, head=key.head, representation=key.representation
    )
    ends = retrieval_intervals(result.per_query, parts, images) if images else (None, None)
    for metric, value, end in zip(("AP", "mAP"), (result.ap, result.mean_ap), ends, strict=True):
        yield row(metric, value, low=end and end.low, high=end and end.high)
    for part, value in result.per_part.items():
        yield row("AP", value, group=part)

"""Part retrieval (paper, section 4.1; PROTOCOL.md): does a part find the same part of other objects?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpart.data.parts import PartSelection
from jaxpart.data.sets import retrieval_set
from jaxpart.data.source import Source
from jaxpart.data.views import patch_ids
from jaxpart.encoders.configured import untrained_twin
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.errors import JaxpartError
from jaxpart.features.pixels import PIXELS
from jaxpart.io.files import npz
from jaxpart.metrics.average_precision import RetrievalResult, average_precision
from jaxpart.metrics.bootstrap import retrieval_intervals
from jaxpart.metrics.chance import chance_retrieval
from jaxpart.metrics.similarities import Rows
from jaxpart.runs.progress import Progress
from jaxpart.runs.table import Section, interval, percent
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks import baselines
from jaxpart.tasks.patches import encoded_patches, patch_representations

Values = Iterator[tuple[str, float | int]]


def run(encoder: Encoder, config: Any, workdir: WorkDir, progress: Progress) -> Values:
    """Part retrieval on every data set of a configuration: see `jaxpart.tasks.Task`.

    Writes retrieval_DATA.npz: ids, parts and images of the queries, and "embedding/AP", that of each
    (`jaxpart.comparison` reads them).
    """
    for name in config.data.sets:
        with progress.bar(f"{name}: opening", None):
            source, selection = retrieval_set(name, config.data)
            workdir.reads(f"{name}/retrieval", source)
        kept: dict[str, np.ndarray] = {}
        for key, value in part_retrieval(encoder, source, selection, config, progress, kept):
            yield f"{name}/retrieval/{key}", value
        workdir.file(f"retrieval_{name}.npz", npz(kept))


def section(values: Mapping[str, float | int]) -> Section:
    """A row for each data set and representation, in percent; then its baselines."""
    rows = []
    for key, value in values.items():
        data, task, *representation, metric = key.split("/")
        if task != "retrieval" or metric != "AP":
            continue
        place = key.removesuffix("/AP")
        parts = f"{place}/part/"
        said = ", ".join(
            f"{name.removeprefix(parts)} {percent(ap)}"
            for name, ap in values.items()
            if name.startswith(parts)
        )
        if representation[0] == "baseline":
            name = baselines.label("/".join(representation[1:]))
        else:
            name = "/".join(representation)
            best = baselines.strongest(values, f"{data}/retrieval")
            if best and value <= best[1]:
                said = f"NOT ABOVE {best[0]} ({percent(best[1])}); {said}"
        rows.append(
            (
                f"{data}, {name}",
                str(values[f"{data}/retrieval/patches"]),
                percent(value),
                interval(values, key) if f"{key}_low" in values else "exact",
                percent(values[f"{place}/mAP"]),
                said,
            )
        )
    return Section(
        ("part retrieval", "patches", "AP", "95 % interval", "mAP", "AP of each part"), rows
    )


def part_retrieval(
    encoder: Encoder,
    source: Source,
    selection: PartSelection,
    config: Any,
    progress: Progress,
    kept: dict[str, np.ndarray] | None = None,
) -> Values:
    """Retrieves every part patch of a data set with every other.

    Args:
      encoder: The frozen encoder.
      source: The data set.
      selection: Its parts.
      config: The whole configuration, of which `retrieval` has `representations`, `exclude_self` and
        `untrained`; see `encoded_patches` too.
      progress: Shows how far it is.
      kept: Filled with what is found of each query, see `run`.

    Yields:
      "images" of the data set, "patches", "skipped" and, for each representation, "embedding/AP",
      "embedding/mAP" and "embedding/part/NAME", as shares of 1; of the first two also "_low" and
      "_high", the ends of their 95 % intervals over the images that queries are of. Then the same of
      each of `jaxpart.tasks.baselines`, "baseline/mean_colour/AP"; that of chance is exact, without
      interval.

    Raises:
      JaxpartError: There are no patches, an image cannot be read, or a representation is unknown.
    """
    names, exclude_self = config.retrieval.representations, config.retrieval.exclude_self
    few = narrowed(encoder)
    wanted = patch_representations(few, config)
    found, patches = encoded_patches(few, source, selection, wanted, config, progress)
    yield "images", len(source)
    yield "patches", len(patches)
    yield "skipped", len(found.skipped)
    images = [patch.index for patch in patches]
    parts = [selection.parts[patch.part] for patch in patches]
    kept = {} if kept is None else kept
    kept["ids"] = np.array(patch_ids(patches))
    kept["parts"], kept["images"] = np.array(parts), np.array(images)
    kept["exclude_self"] = np.array(exclude_self)

    def retrieved(name: str, vectors: Rows) -> Values:
        with progress.bar(f"{source.info.name}: retrieving by {name}", len(parts)) as advance:
            result = average_precision(vectors, parts, exclude_self=exclude_self, advance=advance)
        kept[f"{name}/AP"] = result.per_query
        return _values(name, result, parts, images)

    for name in names:
        yield from retrieved(name, found.features[name])
    yield from _values("baseline/chance", chance_retrieval(parts, exclude_self=exclude_self))
    for name, vectors in baselines.pixel_baselines(found.features[PIXELS]):
        yield from retrieved(f"baseline/{name}", vectors)
    if config.retrieval.untrained:
        twin = narrowed(untrained_twin(encoder, config))
        seen, those = encoded_patches(twin, source, selection, names, config, progress)
        if those != patches:
            raise JaxpartError(
                f"not the same images of {source.info.name} can be read as before; run again"
            )
        for name in names:
            yield from retrieved(f"baseline/untrained/{name}", seen.features[name])


def _values(
    name: str,
    result: RetrievalResult,
    parts: Sequence[str] = (),
    images: Sequence[int] = (),
) -> Values:
    """What results.json has of a representation; with intervals where the queries' images are given."""
    for key, value in (("AP", result.ap), ("mAP", result.mean_ap)):
        yield f"{name}/{key}", value
    if images:
        ends = retrieval_intervals(result.per_query, parts, images)
        for key, end in zip(("AP", "mAP"), ends, strict=True):
            yield f"{name}/{key}_low", end.low
            yield f"{name}/{key}_high", end.high
    for part, value in result.per_part.items():
        yield f"{name}/part/{part}", value

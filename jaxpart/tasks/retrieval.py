"""Part retrieval (paper, section 4.1; PROTOCOL.md): does a part find the same part of other objects?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxpart.data.parts import PartSelection
from jaxpart.data.sets import retrieval_set
from jaxpart.data.source import Source
from jaxpart.data.views import patch_ids
from jaxpart.encoders.encoder import Encoder
from jaxpart.files import npz
from jaxpart.metrics.average_precision import average_precision
from jaxpart.metrics.bootstrap import retrieval_intervals
from jaxpart.progress import Progress
from jaxpart.table import Section, interval, percent
from jaxpart.tasks.patches import encoded_patches, patch_representations
from jaxpart.workdir import WorkDir


def run(
    encoder: Encoder, config: Any, workdir: WorkDir, progress: Progress
) -> Iterator[tuple[str, float | int]]:
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
    """A row for each data set and representation, in percent."""
    rows = []
    for key, value in values.items():
        data, task, *representation, metric = key.split("/")
        if task == "retrieval" and metric == "AP":
            place = key.removesuffix("/AP")
            parts = f"{place}/part/"
            rows.append(
                (
                    f"{data}, {'/'.join(representation)}",
                    str(values[f"{data}/retrieval/patches"]),
                    percent(value),
                    interval(values, key),
                    percent(values[f"{place}/mAP"]),
                    ", ".join(
                        f"{name.removeprefix(parts)} {percent(ap)}"
                        for name, ap in values.items()
                        if name.startswith(parts)
                    ),
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
) -> Iterator[tuple[str, float | int]]:
    """Retrieves every part patch of a data set with every other.

    Args:
      encoder: The frozen encoder.
      source: The data set.
      selection: Its parts.
      config: The whole configuration, of which `retrieval` has `representations` and `exclude_self`;
        see `encoded_patches` too.
      progress: Shows how far it is.
      kept: Filled with what is found of each query, see `run`.

    Yields:
      "images" of the data set, "patches", "skipped" and, for each representation, "embedding/AP",
      "embedding/mAP" and "embedding/part/NAME", as shares of 1; of the first two also "_low" and
      "_high", the ends of their 95 % intervals over the images that queries are of.

    Raises:
      JaxpartError: There are no patches, an image cannot be read, or a representation is unknown.
    """
    wanted = patch_representations(encoder, config)
    found, patches = encoded_patches(encoder, source, selection, wanted, config, progress)
    yield "images", len(source)
    yield "patches", len(patches)
    yield "skipped", len(found.skipped)
    images = [patch.index for patch in patches]
    parts = [selection.parts[patch.part] for patch in patches]
    kept = {} if kept is None else kept
    kept["ids"] = np.array(patch_ids(patches))
    kept["parts"], kept["images"] = np.array(parts), np.array(images)
    kept["exclude_self"] = np.array(config.retrieval.exclude_self)
    for name in config.retrieval.representations:
        with progress.bar(f"{source.info.name}: retrieving by {name}", len(parts)) as advance:
            result = average_precision(
                found.features[name].whole(),
                parts,
                exclude_self=config.retrieval.exclude_self,
                advance=advance,
            )
        kept[f"{name}/AP"] = result.per_query
        ends = retrieval_intervals(result.per_query, parts, images)
        for key, value, end in zip(("AP", "mAP"), (result.ap, result.mean_ap), ends, strict=True):
            yield f"{name}/{key}", value
            yield f"{name}/{key}_low", end.low
            yield f"{name}/{key}_high", end.high
        for part, value in result.per_part.items():
            yield f"{name}/part/{part}", value

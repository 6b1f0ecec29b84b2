"""From part to whole: what part patches retrieve by every block and every layer of the projector.

Of the same patches, and by the same features, two questions: does a part find the same part of other
objects, and does it find parts of the same kind of object?
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from jaxpart.data.sets import retrieval_set
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.features.pixels import PIXELS
from jaxpart.metrics.average_precision import average_precision
from jaxpart.metrics.chance import chance_retrieval
from jaxpart.metrics.similarities import Rows
from jaxpart.runs.progress import Progress
from jaxpart.runs.table import Section, percent
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.baselines import PIXEL_BASELINES, label, pixel_baselines, strongest
from jaxpart.tasks.patches import encoded_patches, layer_names, patch_representations

_SUFFIX = "/parts/AP"


def run(
    encoder: Encoder, config: Any, workdir: WorkDir, progress: Progress
) -> Iterator[tuple[str, float | int]]:
    """Retrieval by every layer on every data set of a configuration: see `jaxpart.tasks.Task`.

    Yields, below "DATA/layers/", "patches"; and in the order of the layers, for each representation of
    `layer_names`, "block0/embedding/parts/AP", and where images have a class "…/objects/AP", whose
    positives are all patches of objects of the query's kind, its own image's too; both as shares of 1.
    Before them the same of each of `jaxpart.tasks.baselines`, "baseline/chance/parts/AP".
    """
    encoder = narrowed(encoder)
    wanted = patch_representations(encoder, config)
    exclude_self = config.retrieval.exclude_self
    for name in config.data.sets:
        source, selection = retrieval_set(name, config.data)
        workdir.reads(f"{name}/layers", source)
        found, patches = encoded_patches(encoder, source, selection, wanted, config, progress)
        labels = {"parts": [selection.parts[patch.part] for patch in patches]}
        if source.info.class_names:
            kinds = [source.annotation(patch.index).label for patch in patches]
            if None not in kinds:
                labels["objects"] = [source.info.class_names[kind or 0] for kind in kinds]
        yield f"{name}/layers/patches", len(patches)
        for what, given in labels.items():
            level = chance_retrieval(given, exclude_self=exclude_self).ap
            yield f"{name}/layers/baseline/chance/{what}/AP", level
        layers = layer_names(encoder, config.layers.tokens)
        ranked: Iterator[tuple[str, Rows]] = itertools.chain(
            ((f"baseline/{k}", rows) for k, rows in pixel_baselines(found.features[PIXELS])),
            ((layer, found.features[layer]) for layer in layers),
        )
        count = len(layers) + len(PIXEL_BASELINES)
        with progress.bar(f"{name}: retrieving by layers", count) as advance:
            for layer, vectors in ranked:
                for what, given in labels.items():
                    result = average_precision(vectors, given, exclude_self=exclude_self)
                    yield f"{name}/layers/{layer}/{what}/AP", result.ap
                advance(1)


def section(values: Mapping[str, float | int]) -> Section:
    """A row for each data set and layer, in percent; baselines first."""
    rows = []
    for key, value in values.items():
        data, task, *rest = key.split("/")
        if task == "layers" and key.endswith(_SUFFIX):
            place, layer = f"{data}/layers", "/".join(rest[:-2])
            beaten = [
                what
                for what in ("parts", "objects")
                if (best := strongest(values, place, f"{what}/AP"))
                and values.get(f"{place}/{layer}/{what}/AP", 1.0) <= best[1]
            ]
            objects = values.get(key.removesuffix(_SUFFIX) + "/objects/AP")
            baseline = layer.removeprefix("baseline/")
            rows.append(
                (
                    f"{data}, {layer if layer == baseline else label(baseline)}",
                    percent(value),
                    "–" if objects is None else percent(objects),
                    f"NOT ABOVE baselines: {', '.join(beaten)}"
                    if beaten and layer == baseline
                    else "",
                )
            )
    return Section(("from part to whole, AP", "of parts", "of objects", ""), rows)

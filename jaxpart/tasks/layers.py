"""From part to whole: what part patches retrieve by every block and every layer of the projector.

Of the same patches, and by the same features, two questions: does a part find the same part of other
objects, and does it find parts of the same kind of object?
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from jaxpart.data.sets import find_set, retrieval_set
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.features.pixels import PIXELS
from jaxpart.metrics.average_precision import average_precision
from jaxpart.metrics.chance import chance_retrieval
from jaxpart.metrics.similarities import Rows
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Row, one, select
from jaxpart.runs.table import Section, percent
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.baselines import BASELINE, PIXEL_BASELINES, label, pixel_baselines, strongest
from jaxpart.tasks.patches import encoded_patches, layer_names, patch_representations

_TASK = "layers"


def run(encoder: Encoder, config: Any, workdir: WorkDir, progress: Progress) -> Iterator[Row]:
    """Retrieval by every layer on every data set of a configuration: see `jaxpart.tasks.Task`.

    Yields "patches"; and in the order of the layers, for each representation of `layer_names`, the "AP" of
    the group "parts", and where images have a class that of "objects", whose positives are all patches of
    objects of the query's kind, its own image's too; both as shares of 1. Before them the same of each of
    `jaxpart.tasks.baselines`.
    """
    encoder = narrowed(encoder)
    wanted = patch_representations(encoder, config)
    exclude_self = config.retrieval.exclude_self
    for alias in config.data.sets:
        name, _ = find_set(alias)
        source, selection = retrieval_set(name, config.data)
        workdir.reads(f"{name}/{_TASK}", source)
        found, patches = encoded_patches(encoder, source, selection, wanted, config, progress)
        labels = {"parts": [selection.parts[patch.part] for patch in patches]}
        if source.info.class_names:
            kinds = [source.annotation(patch.index).label for patch in patches]
            if None not in kinds:
                labels["objects"] = [source.info.class_names[kind or 0] for kind in kinds]
        ap = functools.partial(Row, name, _TASK, "AP")
        yield Row(name, _TASK, "patches", len(patches))
        for what, given in labels.items():
            level = chance_retrieval(given, exclude_self=exclude_self).ap
            yield ap(level, head=BASELINE, representation="chance", group=what)
        layers = layer_names(encoder, config.layers.tokens)
        ranked: Iterator[tuple[str, str, Rows]] = itertools.chain(
            ((BASELINE, k, vectors) for k, vectors in pixel_baselines(found.features[PIXELS])),
            (("", layer, found.features[layer]) for layer in layers),
        )
        count = len(layers) + len(PIXEL_BASELINES)
        with progress.bar(f"{name}: retrieving by layers", count) as advance:
            for head, layer, vectors in ranked:
                for what, given in labels.items():
                    result = average_precision(vectors, given, exclude_self=exclude_self)
                    yield ap(result.ap, head=head, representation=layer, group=what)
                advance(1)


def section(rows: Sequence[Row]) -> Section:
    """A row for each data set and layer, in percent; baselines first."""
    shown = []
    for row in select(rows, task=_TASK, metric="AP", group="parts"):
        objects = one(rows, *row.key._replace(group="objects"))
        beaten = [
            mine.group
            for mine in filter(None, (row, objects))
            if (best := strongest(rows, row.data, _TASK, mine.group)) and mine.value <= best[1]
        ]
        shown.append(
            (
                f"{row.data}, {label(row.key)}",
                percent(row.value),
                "–" if objects is None else percent(objects.value),
                f"NOT ABOVE baselines: {', '.join(beaten)}" if beaten and not row.head else "",
            )
        )
    return Section(("from part to whole, AP", "of parts", "of objects", ""), shown)

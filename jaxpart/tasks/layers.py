"""From part to whole: part retrieval by every block and every layer of the projector.

The same patches and features are evaluated twice: does a part retrieve the same part of other objects, and
does it retrieve parts of the same kind of object?
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxpart.data.sets import find_set, retrieval_set
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.features.extract import Extracted
from jaxpart.features.pixels import PIXELS
from jaxpart.metrics.average_precision import average_precision
from jaxpart.metrics.chance import chance_retrieval
from jaxpart.metrics.similarities import Rows
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Row, find_row, select
from jaxpart.runs.table import Section, percent
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.baselines import BASELINE, PIXEL_BASELINES, centred_pixels, label, strongest
from jaxpart.tasks.patches import find_patches, layer_names, need_patches
from jaxpart.tasks.plans import Plan

_TASK = "layers"


def plans(encoder: FrozenEncoder, config: Any, progress: Progress) -> Iterator[Layers]:
    """Retrieval by every layer on every data set of a configuration: see `jaxpart.tasks.Task`."""
    encoder = narrowed(encoder)
    names = layer_names(encoder, config.layers.tokens)
    for alias in config.data.sets:
        name, _ = find_set(alias)
        with progress.bar(f"{name}: opening", None):
            source, selection = retrieval_set(name, config.data)
        patches = find_patches(source, selection, progress)
        labels = {"parts": [selection.parts[patch.part] for patch in patches]}
        if source.info.class_names:
            kinds = [source.annotation(patch.index).label for patch in patches]
            if None not in kinds:
                labels["objects"] = [source.info.class_names[kind or 0] for kind in kinds]
        yield Layers(
            f"{name}/{_TASK}",
            (source,),
            name,
            names,
            labels,
            config.retrieval.exclude_self,
            needs={"patches": need_patches(encoder, source, patches, (*names, PIXELS), config)},
        )


@dataclasses.dataclass(frozen=True)
class Layers(Plan):
    """Part retrieval by each layer.

    `labels` holds each patch's part ("parts") and, if images have classes, its image's class ("objects");
    for the names see `layer_names`.
    """

    data: str
    names: tuple[str, ...]
    labels: Mapping[str, Sequence[str]]
    exclude_self: bool

    def rows(
        self, features: Mapping[str, Extracted], workdir: WorkDir, progress: Progress
    ) -> Iterator[Row]:
        """Yields "patches"; and for `jaxpart.tasks.baselines` and each layer the "AP" of the group "parts"
        and, if images have classes, of "objects", where all patches of the query's class are positives, its
        own image's too.
        """
        extracted = features["patches"]
        labels = {
            what: [all_labels[i] for i in extracted.kept]
            for what, all_labels in self.labels.items()
        }
        ap = functools.partial(Row, self.data, _TASK, "AP")
        yield Row(self.data, _TASK, "patches", len(extracted.kept))
        for what, names in labels.items():
            chance_ap = chance_retrieval(names, exclude_self=self.exclude_self).ap
            yield ap(chance_ap, head=BASELINE, representation="chance", group=what)
        ranked: Iterator[tuple[str, str, Rows]] = itertools.chain(
            ((BASELINE, k, vectors) for k, vectors in centred_pixels(extracted.features[PIXELS])),
            (("", layer, extracted.features[layer]) for layer in self.names),
        )
        count = len(self.names) + len(PIXEL_BASELINES)
        with progress.bar(f"{self.data}: retrieving by layers", count) as advance:
            for head, layer, vectors in ranked:
                for what, names in labels.items():
                    result = average_precision(vectors, names, exclude_self=self.exclude_self)
                    yield ap(result.ap, head=head, representation=layer, group=what)
                advance(1)


def section(rows: Sequence[Row]) -> Section:
    """A row for each data set and layer, in percent; baselines first."""
    shown = []
    for row in select(rows, task=_TASK, metric="AP", group="parts"):
        objects = find_row(rows, *row.key._replace(group="objects"))
        beaten = [
            result.group
            for result in filter(None, (row, objects))
            if (best := strongest(rows, row.data, _TASK, result.group)) and result.value <= best[1]
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

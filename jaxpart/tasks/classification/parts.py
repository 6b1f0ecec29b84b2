"""Part classification (paper, section 4.1; docs/protocol.md): can a small head tell the parts apart?"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from jaxpart.data.parts import PartSelection, no_patches, part_patches
from jaxpart.data.sets import classification_sets, find_set
from jaxpart.data.source import Source
from jaxpart.data.views import patch_view
from jaxpart.encoders.configured import permutation_seed
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.errors import JaxpartError
from jaxpart.features import extract as features
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Row
from jaxpart.runs.table import Section
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.classification.heads import (
    Labelled,
    Split,
    check_heads,
    classification_section,
    learnable,
    probe_all,
)
from jaxpart.tasks.patches import patch_representations


def run(encoder: Encoder, config: Any, workdir: WorkDir, progress: Progress) -> Iterator[Row]:
    """Part classification on every data set of a configuration: see `jaxpart.tasks.Task`."""
    encoder = narrowed(encoder)
    names = check_heads(encoder, config.classification)
    # Retrieval looks at the same views of these patches.
    tested = tuple(dict.fromkeys((*names, *patch_representations(encoder, config))))
    for alias in config.data.sets:
        name, _ = find_set(alias)
        with progress.bar(f"{name}: opening, finding part patches", None):
            *sources, selection = classification_sets(name, config.data)
            workdir.reads(f"{name}/classification", *sources)
            sides = [_Patches(source, selection) for source in sources]
        for source in sources:
            progress.say_once(source.info.remarks)
        # told before any is encoded
        parts = tuple(selection.parts.values())
        kept = learnable(name, parts, sides[0].labels, sides[1].labels, progress)
        train = sides[0].of(kept).encoded(encoder, names, "train", config, progress)
        test = sides[1].of(kept).encoded(encoder, tested, "eval", config, progress)
        for side, source in zip(("train", "test"), sources, strict=True):
            yield Row(name, "classification", f"{side}_images", len(source))
        data = Labelled(name, tuple(parts[label] for label in kept), train, test)
        yield from probe_all(data, "classification", config, workdir, progress)


class _Patches:
    """All patches of a data set's split, with their parts."""

    def __init__(self, source: Source, selection: PartSelection) -> None:
        self._source, self._patches = source, part_patches(source, selection)
        if not self._patches:
            raise JaxpartError(no_patches(source, selection))
        label_of = {part: label for label, part in enumerate(selection.parts)}
        self.labels = np.array([label_of[patch.part] for patch in self._patches], np.int64)

    def of(self, labels: Sequence[int]) -> _Patches:
        """Those with some labels, which are numbered in the order given."""
        label_of = {old: new for new, old in enumerate(labels)}
        kept = [i for i, label in enumerate(self.labels.tolist()) if label in label_of]
        chosen = copy.copy(self)
        chosen._patches = [self._patches[i] for i in kept]
        chosen.labels = np.array([label_of[label] for label in self.labels[kept].tolist()])
        return chosen

    def encoded(
        self,
        encoder: Encoder,
        names: Sequence[str],
        transform: Literal["eval", "train"],
        config: Any,
        progress: Progress,
    ) -> Split:
        """Their features."""
        options = config.classification
        view = patch_view(
            self._source,
            self._patches,
            size=options.patch_pixels or encoder.config.image_size[0],
            transform=transform,
            on_error=options.on_error,
            permuted=permutation_seed(config),
        )
        found = features.extract(
            encoder, view, names, config.features, progress, batch_size=options.encoder_batch_size
        )
        if found.skipped:
            progress.say(f"{len(found.skipped)} patches skipped; the first: {found.skipped[0]}")
        return Split(
            features=found.features,
            labels=self.labels[found.kept],
            ids=tuple(view.ids[i] for i in found.kept),
            groups=np.array([self._patches[i].index for i in found.kept]),
            skipped=len(found.skipped),
        )


def section(rows: Sequence[Row]) -> Section:
    """A row for each data set, head and representation, in percent."""
    return classification_section("part classification", "classification", rows)

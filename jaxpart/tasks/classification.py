"""Part classification (paper, section 4.1; PROTOCOL.md): can a small head tell the parts apart?"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpart import features
from jaxpart.data.parts import PartSelection, part_patches
from jaxpart.data.sets import classification_sets
from jaxpart.data.source import Source
from jaxpart.data.views import patch_view
from jaxpart.encoders.encoder import Encoder
from jaxpart.errors import JaxpartError
from jaxpart.progress import Progress
from jaxpart.table import Section
from jaxpart.tasks.probing import Labelled, Split, check_heads, classification_section, probe_all
from jaxpart.workdir import WorkDir


def run(
    encoder: Encoder, config: Any, workdir: WorkDir, progress: Progress
) -> Iterator[tuple[str, float | int]]:
    """Part classification on every data set of a configuration: see `jaxpart.tasks.Task`."""
    names = check_heads(encoder, config.classification)
    tested = names
    if "retrieval" in config.tasks:  # it looks at the same views of these patches
        features.check_representations(encoder, config.retrieval.representations)
        tested = tuple(dict.fromkeys((*names, *config.retrieval.representations)))
    for name in config.data.sets:
        *sources, selection = classification_sets(name, config.data)
        train, test = (
            _split(encoder, source, selection, wanted, view, config, progress)
            for source, wanted, view in zip(
                sources, (names, tested), ("train", "eval"), strict=True
            )
        )
        classes = tuple(selection.parts.values())
        data = Labelled(name, classes, train, test)
        for key, value in probe_all(data, config, workdir, progress):
            yield f"{name}/classification/{key}", value


def _split(
    encoder: Encoder,
    source: Source,
    selection: PartSelection,
    names: Sequence[str],
    transform: Any,
    config: Any,
    progress: Progress,
) -> Split:
    """Features and parts of all patches of a data set's split."""
    options = config.classification
    patches = part_patches(source, selection)
    counts = collections.Counter(patch.part for patch in patches)
    for part, part_name in selection.parts.items():
        if not counts[part]:
            raise JaxpartError(
                f"{source.info.name} ({source.info.split}) has no patch of the part {part_name}, so "
                f"that it cannot be classified; take more images"
            )
    view = patch_view(
        source,
        patches,
        size=options.patch_pixels or encoder.config.image_size[0],
        transform=transform,
        on_error=options.on_error,
    )
    found = features.extract(
        encoder, view, names, config.features, progress, batch_size=options.encoder_batch_size
    )
    if found.skipped:
        progress.say(f"{len(found.skipped)} patches skipped; the first: {found.skipped[0]}")
    kept = [patches[i] for i in found.kept]
    labels = {part: label for label, part in enumerate(selection.parts)}
    return Split(
        features=found.features,
        labels=np.array([labels[patch.part] for patch in kept]),
        ids=tuple(view.ids[i] for i in found.kept),
        groups=np.array([patch.index for patch in kept]),
        skipped=len(found.skipped),
    )


def section(values: Mapping[str, float | int]) -> Section:
    """A row for each data set, head and representation, in percent."""
    return classification_section("part classification", "classification", values)

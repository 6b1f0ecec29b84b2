"""Part classification of part patches by probes (paper, section 4.1; docs/protocol.md)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxpart.data.parts import PartSelection, no_patches, part_patches
from jaxpart.data.sets import classification_sets, find_set
from jaxpart.data.source import Source
from jaxpart.data.views import patch_ids, patch_view
from jaxpart.encoders.configured import permutation_seed
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.errors import JaxpartError
from jaxpart.features.extract import Extracted
from jaxpart.features.pixels import PIXELS
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Row
from jaxpart.runs.table import Section
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.baselines import classified_pixels
from jaxpart.tasks.classification.heads import (
    Labelled,
    Split,
    check_heads,
    classification_section,
    epochs_of,
    learnable,
    probe_all,
)
from jaxpart.tasks.plans import Need, Plan, side_of

_TASK = "classification"


def plans(encoder: FrozenEncoder, config: Any, progress: Progress) -> Iterator[PartClassification]:
    """Part classification on every data set of a configuration: see `jaxpart.tasks.Task`."""
    encoder = encoder if _depends_on_channels(config[_TASK]) else narrowed(encoder)
    names = check_heads(encoder, config[_TASK])
    for alias in config.data.sets:
        name, _ = find_set(alias)
        with progress.bar(f"{name}: opening, finding part patches", None):
            *sources, selection = classification_sets(name, config.data)
            sides = [_Patches(source, selection) for source in sources]
        for source in sources:
            progress.say_once(source.info.remarks)
        parts = tuple(selection.parts.values())
        kept = learnable(name, parts, sides[0].labels, sides[1].labels, progress)
        train, test = (side.of(kept) for side in sides)
        yield PartClassification(
            f"{name}/{_TASK}",
            tuple(sources),
            name,
            tuple(parts[label] for label in kept),
            (train, test),
            config,
            needs={
                "train": train.need(encoder, names, "train", config),
                "test": test.need(encoder, names, "eval", config),
            },
        )


def _depends_on_channels(options: Any) -> bool:
    """Whether results depend on the channels of projections, not only on their inner products.

    Logistic regression and BatchNorm standardise each channel, and LARS uses the norm of all weights.
    """
    linear = options.linear
    used = any("projection" in name for name in linear.representations)
    return used and (
        "logistic" in options.references
        or ("linear" in options.heads and (linear.batch_norm or linear.lars))
    )


@dataclasses.dataclass(frozen=True)
class PartClassification(Plan):
    """Heads on the part patches of a data set."""

    data: str
    classes: tuple[str, ...]
    sides: tuple[_Patches, _Patches]
    config: Any

    def epochs(self) -> Mapping[str, int]:
        """Epochs over the training features."""
        return epochs_of(self.config[_TASK])

    def rows(
        self, features: Mapping[str, Extracted], workdir: WorkDir, progress: Progress
    ) -> Iterator[Row]:
        """Yields "train_images", "test_images" and the rows of `probe_all`."""
        for side, source in zip(("train", "test"), self.sources, strict=True):
            yield Row(self.data, _TASK, f"{side}_images", len(source))
        train, test = (
            side.split(features[name])
            for side, name in zip(self.sides, ("train", "test"), strict=True)
        )
        data = Labelled(self.data, self.classes, train, test)
        baselines = classified_pixels(
            train.features[PIXELS], train.labels, test.features[PIXELS], self.data, progress
        )
        yield from probe_all(data, _TASK, self.config, workdir, progress, baselines=baselines)


class _Patches:
    """All part patches of a split, with their labels."""

    def __init__(self, source: Source, selection: PartSelection) -> None:
        self._source, self._patches = source, part_patches(source, selection)
        if not self._patches:
            raise JaxpartError(no_patches(source, selection))
        label_of = {part: label for label, part in enumerate(selection.parts)}
        self.labels = np.array([label_of[patch.part] for patch in self._patches], np.int64)

    def of(self, labels: Sequence[int]) -> _Patches:
        """The patches with some labels, relabelled 0, 1, … in that order."""
        label_of = {old: new for new, old in enumerate(labels)}
        kept = [i for i, label in enumerate(self.labels.tolist()) if label in label_of]
        chosen = copy.copy(self)
        chosen._patches = [self._patches[i] for i in kept]
        chosen.labels = np.array([label_of[label] for label in self.labels[kept].tolist()])
        return chosen

    def need(
        self,
        encoder: FrozenEncoder,
        names: Sequence[str],
        transform: Literal["eval", "train"],
        config: Any,
    ) -> Need:
        """The patches' view and representations, and their pixels."""
        options = config[_TASK]
        view = patch_view(
            self._source,
            self._patches,
            size=side_of(encoder, options.patch_pixels, f"config.{_TASK}.patch_pixels"),
            transform=transform,
            on_error=options.on_error,
            permuted=permutation_seed(config),
        )
        return Need(encoder, view, (*names, PIXELS), options.encoder_batch_size, options.on_error)

    def split(self, extracted: Extracted) -> Split:
        """The readable patches, with their features."""
        patches = [self._patches[i] for i in extracted.kept]
        return Split(
            features=extracted.features,
            labels=self.labels[extracted.kept],
            ids=tuple(patch_ids(patches)),
            groups=np.array([patch.index for patch in patches]),
            skipped=len(extracted.skipped),
        )


def section(rows: Sequence[Row]) -> Section:
    """A row for each data set, head and representation, in percent."""
    return classification_section("part classification", _TASK, rows)

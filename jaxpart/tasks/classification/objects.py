"""Object classification of whole images by probes (paper, section 4.2; docs/protocol.md)."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxpart.data.sets import find_set, open_set
from jaxpart.data.source import Source
from jaxpart.data.subset import Classes
from jaxpart.data.views import image_view
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.errors import JaxpartError
from jaxpart.features.extract import Extracted, extract
from jaxpart.probes.items import Items
from jaxpart.probes.random_views import RandomViews, shared_parts
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Row
from jaxpart.runs.table import Section
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.classification.heads import (
    Labelled,
    Split,
    check_heads,
    classification_section,
    epochs_of,
    learnable,
    probe_all,
)
from jaxpart.tasks.plans import Need, Pass, Plan, side_of

_TASK = "object_classification"
_LOGITS = "projection"


def plans(
    encoder: FrozenEncoder, config: Any, progress: Progress
) -> Iterator[ObjectClassification]:
    """Object classification on every data set of a configuration: see `jaxpart.tasks.Task`."""
    options = config[_TASK]
    names = check_heads(encoder, options)
    size = side_of(encoder, options.pixels, f"config.{_TASK}.pixels")
    for alias in config.data.sets:
        name, entry = find_set(alias)
        with progress.bar(f"{name}: opening", None):
            sources = [open_set(name, split, config.data) for split in entry.splits]
            train, test = (_Images(source) for source in sources)
        if options.own_classifier:
            _check_classifier(encoder, test)
        classes = test.source.info.class_names
        for side in (train, test):
            progress.say_once(side.source.info.remarks)
        if options.heads or options.references:
            kept = learnable(name, classes, train.labels, test.labels, progress)
            train, test = train.of(kept), test.of(kept)
        else:
            kept = list(range(len(classes)))
        # Representations of the training images, apart from random views.
        fixed = names if options.views == "eval" and options.heads else ()
        fixed = fixed or (options.linear.representations if options.references else ())
        tested = (*names, _LOGITS) if options.own_classifier else names
        splits = {"train": (train, fixed), "test": (test, tested)}
        yield ObjectClassification(
            f"{name}/{_TASK}",
            tuple(sources),
            name,
            classes,
            kept,
            (train, test),
            encoder,
            size,
            config,
            needs={
                side: Need(
                    encoder,
                    image_view(images.source, size=size, on_error=options.on_error),
                    tuple(chosen),
                    options.encoder_batch_size,
                    options.on_error,
                )
                for side, (images, chosen) in splits.items()
                if chosen
            },
        )


@dataclasses.dataclass(frozen=True)
class ObjectClassification(Plan):
    """Heads on the images of a data set, and the encoder's own classifier.

    `kept` holds the labels of the classes that have training images; `size` is the side of images in
    pixels.
    """

    data: str
    classes: tuple[str, ...]
    kept: Sequence[int]
    sides: tuple[_Images, _Images]
    encoder: FrozenEncoder
    size: int
    config: Any

    def passes(self) -> Iterator[Pass]:
        """Random views, new in every epoch; heads share them if one batch size divides the other."""
        options = self.config[_TASK]
        if options.views == "random":
            images = len(self.sides[0].labels)
            sizes = {head: min(options[head].batch_size, images) for head in options.heads}
            parts, epochs = shared_parts(sizes.values()), collections.Counter[int]()
            for head, size in sizes.items():
                epochs[parts[size]] = max(epochs[parts[size]], options[head].epochs)
            stages = 2 if options.selection else 1
            names = tuple(itertools.chain(*(options[head].representations for head in sizes)))
            yield Pass(self.encoder, self.size, names, stages * epochs.total() * images)

    def epochs(self) -> Mapping[str, int]:
        """Epochs over fixed views."""
        options = self.config[_TASK]
        return epochs_of(options) if options.views == "eval" else {}

    def rows(
        self, features: Mapping[str, Extracted], workdir: WorkDir, progress: Progress
    ) -> Iterator[Row]:
        """Yields the rows of `probe_all`."""
        options = self.config[_TASK]
        train, test = self.sides
        test_split = test.split(features["test"])
        train_split = (
            train.split(features["train"]) if "train" in features else train.without_features()
        )
        own = None
        if options.own_classifier:
            label_of = np.full(len(self.classes), -1)  # classes that are left out count as errors
            label_of[self.kept] = np.arange(len(self.kept))
            own = label_of[test_split.features[_LOGITS].whole().argmax(axis=1)]
        views = functools.partial(self._random_views, progress)
        data = Labelled(self.data, test.source.info.class_names, train_split, test_split)
        yield from probe_all(
            data,
            _TASK,
            self.config,
            workdir,
            progress,
            views=views if options.views == "random" else None,
            own=own,
        )

    def _random_views(self, progress: Progress, names: Sequence[Sequence[str]]) -> RandomViews:
        """Random views of the training images, to train sweeps on."""
        options, images = self.config[_TASK], self.sides[0]
        view = image_view(images.source, size=self.size, on_error=options.on_error)

        def tests(numbers: Int[np.ndarray, " item"]) -> list[Items]:
            extracted = extract(
                self.encoder,
                view.subset(numbers.tolist()),
                list(dict.fromkeys(itertools.chain(*names))),
                self.config.features,
                progress,
                batch_size=options.encoder_batch_size,
            )
            labels = images.labels[numbers][extracted.kept]
            return [Items([extracted.features[name] for name in group], labels) for group in names]

        return RandomViews(
            self.encoder,
            images.source,
            tuple(map(tuple, names)),
            size=self.size,
            seed=self.config.seed,
            workers=options.workers,
            tests=tests,
        )


def section(rows: Sequence[Row]) -> Section:
    """A row for each data set, head and representation, in percent."""
    return classification_section("object classification", _TASK, rows)


class _Images:
    """A split with the class of each image."""

    def __init__(self, source: Source) -> None:
        labels = [source.annotation(i).label for i in range(len(source))]
        if not source.info.class_names or any(label is None for label in labels):
            raise JaxpartError(
                f"{source.info.name} ({source.info.split}) has no class for each image; choose a data "
                f"set with classes, such as imagenet"
            )
        self.source, self.labels = source, np.array(labels, np.int64)

    def of(self, labels: Sequence[int]) -> _Images:
        """The images of some classes, relabelled 0, 1, … in that order."""
        is_all = len(labels) == len(self.source.info.class_names)
        return self if is_all else _Images(Classes(self.source, labels))

    def split(self, extracted: Extracted) -> Split:
        """The readable images, with their features."""
        kept = extracted.kept
        ids = tuple(self.source.annotation(i).id for i in kept)
        return Split(extracted.features, self.labels[kept], ids, kept, len(extracted.skipped))

    def without_features(self) -> Split:
        """The images, without features."""
        return Split({}, self.labels, (), np.arange(len(self.labels)), 0)


def _check_classifier(encoder: FrozenEncoder, test: _Images) -> None:
    """Raises `JaxpartError` unless the encoder has a classifier of the data set's classes."""
    projector = encoder.config.projector if isinstance(encoder, Encoder) else None
    classes = len(test.source.info.class_names)
    if projector is None or projector.kind != "classifier":
        raise JaxpartError(
            f"the {encoder.name} encoder has no classifier of its own; pass "
            f"--config.{_TASK}.own_classifier=False"
        )
    if projector.out != classes:
        raise JaxpartError(
            f"the classifier of the {encoder.name} encoder has {projector.out} classes, but "
            f"{test.source.info.name} has {classes}; use the complete data set that it was trained on"
        )

"""Object classification (paper, section 4.2; docs/protocol.md): what is in the whole image?"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxpart.data.sets import find_set, open_set
from jaxpart.data.source import Source
from jaxpart.data.subset import Classes
from jaxpart.data.views import View, image_view
from jaxpart.encoders.encoder import Encoder
from jaxpart.errors import JaxpartError
from jaxpart.features import extract as features
from jaxpart.probes.items import Items
from jaxpart.probes.random_views import RandomViews
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

_TASK = "object_classification"
_LOGITS = "projection"


def run(encoder: Encoder, config: Any, workdir: WorkDir, progress: Progress) -> Iterator[Row]:
    """Object classification on every data set of a configuration: see `jaxpart.tasks.Task`."""
    options = config[_TASK]
    names = check_heads(encoder, options)
    if options.views not in ("random", "eval"):
        raise JaxpartError(f"views cannot be {options.views!r}; choose random or eval")
    for alias in config.data.sets:
        name, entry = find_set(alias)
        with progress.bar(f"{name}: opening", None):
            train, test = (_Images(open_set(name, split, config.data)) for split in entry.splits)
            workdir.reads(f"{name}/{_TASK}", train.source, test.source)
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
        seen = _Encoded(encoder, config, progress)
        tested = (*names, _LOGITS) if options.own_classifier else names
        right = seen.split(test, tested)
        own = None
        if options.own_classifier:
            label_of = np.full(len(classes), -1)  # a class that is left out is a mistake
            label_of[kept] = np.arange(len(kept))
            own = label_of[right.features[_LOGITS].whole().argmax(axis=1)]
        vectors = options.linear.representations if options.references else ()
        fixed = names if options.views == "eval" and options.heads else tuple(vectors)
        left = seen.split(train, fixed) if fixed else train.unseen()
        views = functools.partial(seen.random, train) if options.views == "random" else None
        data = Labelled(name, test.source.info.class_names, left, right)
        yield from probe_all(data, _TASK, config, workdir, progress, views=views, own=own)


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
                f"set of classes, as imagenet"
            )
        self.source, self.labels = source, np.array(labels, np.int64)

    def of(self, labels: Sequence[int]) -> _Images:
        """Those of some classes, which are numbered in the order given."""
        every = len(labels) == len(self.source.info.class_names)
        return self if every else _Images(Classes(self.source, labels))

    def unseen(self) -> Split:
        """Without features."""
        return Split({}, self.labels, (), np.arange(len(self.labels)), 0)


def _check_classifier(encoder: Encoder, test: _Images) -> None:
    """Refuses to take anything else for the logits of these classes."""
    projector, classes = encoder.config.projector, len(test.source.info.class_names)
    if projector is None or projector.kind != "classifier":
        raise JaxpartError(
            f"the {encoder.name} encoder has no classifier of its own; pass "
            f"--config.{_TASK}.own_classifier=False"
        )
    if projector.out != classes:
        raise JaxpartError(
            f"the classifier of the {encoder.name} encoder tells {projector.out} classes apart, but "
            f"{test.source.info.name} has {classes}; give the data set that it was trained on, whole"
        )


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """What the encoder sees of images."""

    encoder: Encoder
    config: Any
    progress: Progress

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.config[_TASK].pixels or self.encoder.config.image_size[0]

    def view(self, images: _Images) -> View:
        return image_view(images.source, size=self.size, on_error=self.config[_TASK].on_error)

    def extract(self, view: View, names: Sequence[str]) -> features.Extracted:
        return features.extract(
            self.encoder,
            view,
            names,
            self.config.features,
            self.progress,
            batch_size=self.config[_TASK].encoder_batch_size,
        )

    def split(self, images: _Images, names: Sequence[str]) -> Split:
        view = self.view(images)
        found = self.extract(view, names)
        if found.skipped:
            self.progress.say(f"{len(found.skipped)} images skipped; first: {found.skipped[0]}")
        ids = tuple(view.ids[i] for i in found.kept)
        return Split(found.features, images.labels[found.kept], ids, found.kept, len(found.skipped))

    def random(self, images: _Images, names: Sequence[str]) -> RandomViews:
        """Random views of images, to train heads on."""

        def subset(numbers: Int[np.ndarray, " item"]) -> Items:
            found = self.extract(self.view(images).subset(numbers.tolist()), names)
            labels = images.labels[numbers][found.kept]
            return Items([found.features[name] for name in names], labels)

        return RandomViews(
            self.encoder,
            images.source,
            tuple(names),
            size=self.size,
            seed=self.config.seed,
            workers=self.config[_TASK].workers,
            subset=subset,
        )

"""Heads on labelled features, shared by part and object classification."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Bool, Int

from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.errors import JaxpartError, listed
from jaxpart.features.extract import Features
from jaxpart.features.representations import check_representations
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.io.files import npz
from jaxpart.metrics.accuracy import accuracy, item_scores
from jaxpart.probes.attentive import AttentiveHead, check_width
from jaxpart.probes.items import Items
from jaxpart.probes.linear import LinearHead
from jaxpart.probes.logistic import ITERATIONS, logistic_regression
from jaxpart.probes.neighbours import nearest_neighbours
from jaxpart.probes.outcome import Outcome
from jaxpart.probes.probe import probe
from jaxpart.probes.random_views import RandomViews
from jaxpart.probes.recipe import Recipe
from jaxpart.probes.sweep import Sweep
from jaxpart.runs.config_fields import HEADS
from jaxpart.runs.items import items_file, items_npz
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Key, Row, find_row, select
from jaxpart.runs.table import Section, interval, percent
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.baselines import BASELINE, label, strongest

_REFERENCES: dict[str, Callable[..., np.ndarray]] = {
    "knn": nearest_neighbours,
    "logistic": logistic_regression,
}


@dataclasses.dataclass(frozen=True)
class Split:
    """The items of a split.

    Labels are classes from 0, groups the image of each item; `skipped` is the number of unreadable items.
    """

    features: Mapping[str, Features]
    labels: Int[np.ndarray, " item"]
    ids: Sequence[str]
    groups: Int[np.ndarray, " item"]
    skipped: int

    def items(self, names: Sequence[str]) -> Items:
        """The items with some representations, all of the same shape."""
        return Items([self.features[name] for name in names], self.labels)


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A data set for training and testing heads."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split


def check_heads(encoder: FrozenEncoder, options: Any) -> tuple[str, ...]:
    """The representations that a configuration's heads need.

    Raises:
      JaxpartError: The encoder lacks a representation, or its tokens do not split into attention heads.
    """
    names: list[str] = []
    for head in HEADS:
        if head in options.heads or (head == "linear" and options.references):
            representations = options[head].representations
            shapes = check_representations(encoder, representations, tokens=head == "attentive")
            names += representations
            if head == "attentive":
                for _, width in shapes.values():
                    check_width(width, options.attentive.num_heads)
    return tuple(dict.fromkeys(names))


def _recipe(head: str, options: Any) -> Recipe:
    """The recipe of a head. `bn_test` applies to the attentive head only: no published code tests a linear
    head's BatchNorm with batch statistics."""
    return Recipe.of(options[head], options.bn_test if head == "attentive" else "running")


def probe_all(
    data: Labelled,
    task: str,
    config: Any,
    workdir: WorkDir,
    progress: Progress,
    *,
    views: Callable[[Sequence[Sequence[str]]], RandomViews] | None = None,
    own: Int[np.ndarray, " item"] | None = None,
    baselines: Iterable[tuple[str, Int[np.ndarray, " item"]]] = (),
) -> Iterator[Row]:
    """Trains and tests every head and reference of a configuration.

    Writes TASK_DATA.npz (`jaxpart.runs.items`): ids, labels and classes of the test items, and for each
    result its predictions [seed, item] and its accuracy after every epoch. Writes heads/TASK_DATA.npz: the
    arrays of each result's head, [seed, …], as "linear/cls_token/best/kernel";
    `jaxpart.probes.trained.load_head` restores a head from them.

    Args:
      data: Training and test items.
      task: Name of the task and of its options in the configuration.
      config: The whole configuration.
      workdir: Stores predictions and training checkpoints.
      progress: Shows the progress.
      views: Random views of the training items, by the representations of each sweep; default: train on
        the items' features.
      own: Predictions of the encoder's own classifier for the test items.
      baselines: Names and predictions of what needs no encoder.

    Yields:
      "train", "test", "skipped", "classes"; for each head and representation the accuracies "best",
      "last" and "chosen" (see `Outcome`) with their 95 % intervals, and their rates and epochs.
    """
    options = config[task]
    seeds = range(config.seed, config.seed + config.seeds)
    row = functools.partial(Row, data.name, task)
    yield row("classes", len(data.classes))
    yield row("train", len(data.train.labels))
    yield row("test", len(data.test.labels))
    yield row("skipped", data.train.skipped + data.test.skipped)
    key = functools.partial(Key, data.name, task)
    per_item: dict[Key, np.ndarray] = {}
    items = {
        "ids": np.array(data.test.ids),
        "labels": data.test.labels.astype(np.int32),
        "classes": np.array(data.classes),
    }
    heads: dict[str, np.ndarray] = {}
    checkpointers: list[Checkpointer] = []
    groups = [
        (head, tuple(names))
        for head in options.heads
        for names in _by_shape(data.test.features, options[head].representations)
    ]
    # Random views are encoded once for all heads.
    for joint in [groups] if views is not None and groups else [[group] for group in groups]:
        head, names = joint[0]
        suffix = "views" if len(joint) > 1 else f"{head}-{names[0].replace('/', '-')}"
        stem = f"{task}-{data.name}-{suffix}"

        def new_checkpointer(stage: str, stem: str = stem) -> Checkpointer:
            checkpointers.append(Checkpointer(workdir.path / "checkpoints" / f"{stem}-{stage}"))
            return checkpointers[-1]

        results = _probe(joint, data, options, seeds, new_checkpointer, progress, views)
        for (head, names), outcomes in zip(joint, results, strict=True):
            for name, outcome in zip(names, outcomes, strict=True):
                head_row = functools.partial(row, head=head, representation=name)
                yield head_row("bn_test_batch", int(_recipe(head, options).bn_test == "batch"))
                yield from _rows(head_row, outcome, data.test.labels, options[head].rates, seeds)
                for metric, predictions in outcome.predictions().items():
                    per_item[key(metric, head, name)] = predictions
                per_item[key("accuracy_by_epoch", head, name)] = outcome.accuracy
                if head == "attentive":
                    heads[f"{head}/{name}/num_heads"] = np.array(options.attentive.num_heads)
                for reading, arrays in outcome.heads.items():
                    heads |= {f"{head}/{name}/{reading}/{path}": a for path, a in arrays.items()}
    for head, name, predicted in itertools.chain(
        _without_training(data, options, own, progress),
        ((BASELINE, name, predicted) for name, predicted in baselines),
    ):
        per_item[key("chosen", head, name)] = predicted[None].astype(np.int32)
        head_row = functools.partial(row, head=head, representation=name)
        yield _accuracy(head_row, "chosen", predicted[None], data.test.labels)
    file = items_file(task, data.name)
    if heads:
        workdir.file(f"heads/{file}", npz(heads))
    workdir.file(file, items_npz(items, per_item))
    for checkpointer in checkpointers:
        checkpointer.delete()
    with contextlib.suppress(OSError):
        (workdir.path / "checkpoints").rmdir()


def _without_training(
    data: Labelled, options: Any, own: Int[np.ndarray, " item"] | None, progress: Progress
) -> Iterator[tuple[str, str, Int[np.ndarray, " item"]]]:
    """Head, representation and predictions of the encoder's own classifier and of the references."""
    if own is not None:
        yield "own", "classifier", own
    for reference in options.references:
        for name in options.linear.representations:
            train, test = (split.features[name].whole() for split in (data.train, data.test))
            total, unit = (
                (len(test), "items") if reference == "knn" else (ITERATIONS, "steps, at most")
            )
            with progress.bar(f"{data.name}: {reference} on {name}, {unit}", total) as advance:
                predicted = _REFERENCES[reference](train, data.train.labels, test, advance=advance)
            yield reference, name, predicted


def epochs_of(options: Any) -> dict[str, int]:
    """Epochs of all heads over the training items' features, by representation."""
    epochs: collections.Counter[str] = collections.Counter()
    for head in options.heads:
        for name in options[head].representations:
            epochs[name] += options[head].epochs * (2 if options.selection else 1)
    return epochs


def _by_shape(features: Mapping[str, Features], names: Sequence[str]) -> list[list[str]]:
    """Groups representations by shape; each group trains in one compiled program."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        groups.setdefault(features[name].shape[1:], []).append(name)
    return list(groups.values())


def _head_factory(head: str, width: int, classes: int, options: Any) -> Callable[..., nnx.Module]:
    if head == "linear":
        return functools.partial(LinearHead, width, classes, batch_norm=options.linear.batch_norm)
    num_heads, initial = options.attentive.num_heads, options.attentive.initial
    return functools.partial(AttentiveHead, width, classes, num_heads=num_heads, initial=initial)


def _probe(
    groups: Sequence[tuple[str, tuple[str, ...]]],
    data: Labelled,
    options: Any,
    seeds: Sequence[int],
    new_checkpointer: Callable[[str], Checkpointer],
    progress: Progress,
    views: Callable[[Sequence[Sequence[str]]], RandomViews] | None,
) -> list[list[Outcome]]:
    """The outcomes of each group, a head and its representations: one group, or several that share their
    random views."""
    tests = [data.test.items(names) for _, names in groups]
    train = data.train.items(groups[0][1]) if views is None else views([n for _, n in groups])
    recipes = [_recipe(head, options) for head, _ in groups]
    sweeps = [
        Sweep(
            _head_factory(head, test.features[0].shape[-1], len(data.classes), options),
            recipe,
            seeds,
        )
        for (head, _), test, recipe in zip(groups, tests, recipes, strict=True)
    ]
    title = "; ".join(f"{head} on {', '.join(names)}" for head, names in groups)
    stages = 2 if options.selection else 1
    total, done = stages * sum(recipe.epochs for recipe in recipes), [0] * len(groups)
    with progress.bar(f"{data.name}: {title}, epochs", total) as advance:

        def log(sweep: int, epoch: int) -> None:
            advance(epoch + 1 - done[sweep])
            done[sweep] = epoch + 1

        selection_groups = data.train.groups if options.selection else None
        return probe(
            sweeps, train, tests, groups=selection_groups, checkpointer=new_checkpointer, log=log
        )


def _rows(
    row: Callable[..., Row],
    outcome: Outcome,
    labels: Int[np.ndarray, " item"],
    rates: Sequence[float],
    seeds: Sequence[int],
) -> Iterator[Row]:
    for metric, predictions in outcome.predictions().items():
        yield _accuracy(row, metric, predictions, labels)
    for i, seed in enumerate(seeds):
        group = f"seed {seed}" if len(seeds) > 1 else ""
        yield row("best_rate", float(rates[outcome.best_rate[i]]), group=group)
        yield row("best_epoch", int(outcome.best_epoch[i]), group=group)
        if outcome.chosen is not None:
            yield row("chosen_rate", float(rates[outcome.rate[i]]), group=group)
            yield row("chosen_epoch", int(outcome.epoch[i]), group=group)
    for i, rate in enumerate(rates if len(rates) > 1 else ()):
        group = f"rate {rate:g}"
        yield row("best", float(outcome.accuracy[:, i].max(axis=-1).mean()), group=group)
        yield row("last", float(outcome.accuracy[:, i, -1].mean()), group=group)


def _accuracy(
    row: Callable[..., Row],
    metric: str,
    predictions: Int[np.ndarray, "seed item"],
    labels: Int[np.ndarray, " item"],
) -> Row:
    score = accuracy(item_scores(predictions, labels))
    several = len(predictions) > 1
    sd = float((predictions == labels).mean(axis=1).std(ddof=1)) if several else None
    return row(metric, score.value, low=score.low, high=score.high, sd=sd)


def learnable(
    data: str,
    names: Sequence[str],
    train: Int[np.ndarray, " item"],
    test: Int[np.ndarray, " item"],
    progress: Progress,
) -> list[int]:
    """Labels of the classes with training items.

    Reports which classes are excluded, and which are trained but not tested.

    Raises:
      JaxpartError: Fewer than two classes remain, or none can be tested.
    """
    trained, tested = (np.bincount(labels, minlength=len(names)) > 0 for labels in (train, test))
    if trained.sum() < 2 or not (trained & tested).any():
        raise JaxpartError(
            f"{data}: {_shortened(names, trained)} in training and {_shortened(names, tested)} in testing "
            "are too few classes to classify; use more images"
        )
    if not trained.all():
        progress.say(f"{data}: no training items of {_shortened(names, ~trained)}; excluded")
    if not tested[trained].all():
        progress.say(
            f"{data}: no test items of {_shortened(names, trained & ~tested)}; trained, but not tested"
        )
    return np.flatnonzero(trained).tolist()


def _shortened(names: Sequence[str], chosen: Bool[np.ndarray, " class"]) -> str:
    """The first chosen names, and the number of others."""
    return listed(itertools.compress(names, chosen), 5) or "no class"


def classification_section(title: str, task: str, rows: Sequence[Row]) -> Section:
    """A row per data set, head and representation, in percent; the interval is the rightmost accuracy's.

    ° marks an accuracy that is not above every baseline.
    """
    shown = []
    of_task = select(rows, task=task, group="")
    levels = select(of_task, head=BASELINE)
    for row in of_task:
        readings = [
            find_row(of_task, *row.key._replace(metric=metric))
            for metric in ("best", "last", "chosen")
        ]
        if row is not (readings[0] or readings[2]):
            continue
        accuracy_row = readings[2] or readings[1]
        note = interval(accuracy_row)
        best = None if row.head == BASELINE else strongest(rows, row.data, task)
        if best and accuracy_row and accuracy_row.value <= best[1]:
            note += " °"
        batch = find_row(of_task, *row.key._replace(metric="bn_test_batch"))
        if batch and batch.value:
            note += "; BatchNorm of the test batch"
        tested = find_row(of_task, row.data, task, "test")
        shown.append(
            (
                f"{row.data}, {label(row.key)}",
                str(tested.value) if tested else "–",
                *("–" if reading is None else percent(reading.value) for reading in readings),
                note,
            )
        )
    columns = (
        title,
        "tested",
        "best epoch",
        "last epoch",
        "chosen",
        "95 % interval" + ("\n° not above baseline" if levels else ""),
    )
    return Section(columns, shown)

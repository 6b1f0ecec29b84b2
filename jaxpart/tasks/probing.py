"""All heads of a configuration on labelled features: what part and object classification share."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxpart import devices
from jaxpart.checkpoints import Checkpointer
from jaxpart.encoders.encoder import Encoder
from jaxpart.errors import JaxpartError
from jaxpart.features import Features, check_representations
from jaxpart.metrics.accuracy import accuracy, item_scores
from jaxpart.probes.attentive import AttentiveHead, check_width
from jaxpart.probes.linear import LinearHead
from jaxpart.probes.logistic import logistic_regression
from jaxpart.probes.neighbours import nearest_neighbours
from jaxpart.probes.probing import Items, Recipe
from jaxpart.probes.selection import Outcome, probe
from jaxpart.probes.sweep import MakeHead
from jaxpart.progress import Progress
from jaxpart.table import Section, percent
from jaxpart.workdir import WorkDir

_HEADS = ("linear", "attentive")
_REFERENCES: dict[str, Callable[..., np.ndarray]] = {
    "knn": nearest_neighbours,
    "logistic": logistic_regression,
}


@dataclasses.dataclass(frozen=True)
class Split:
    """The items of one side.

    Attributes:
      features: By representation.
      labels: Class of each item, from 0.
      ids: Name of each item.
      groups: The image of each item.
      skipped: How many more there are that could not be read.
    """

    features: Mapping[str, Features]
    labels: Int[np.ndarray, " item"]
    ids: Sequence[str]
    groups: Int[np.ndarray, " item"]
    skipped: int


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A data set to train and test heads on.

    Attributes:
      name: As the configuration calls it.
      classes: Names by label.
      train: To train on.
      test: To test on.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split


def check_heads(encoder: Encoder, options: Any) -> tuple[str, ...]:
    """The representations that a configuration's heads need.

    Raises:
      JaxpartError: A head or reference is unknown, an option is out of its range, or the encoder does not
        have a representation.
    """
    for chosen, known in ((options.heads, _HEADS), (options.references, tuple(_REFERENCES))):
        for name in chosen:
            if name not in known:
                raise JaxpartError(f"there is no probe {name!r}; choose among {', '.join(known)}")
    if options.bn_test not in ("running", "batch"):
        raise JaxpartError(f"bn_test cannot be {options.bn_test!r}; choose running or batch")
    if options.epochs < 1 or options.batch_size < 1:
        raise JaxpartError(
            f"epochs ({options.epochs}) and batch_size ({options.batch_size}) must be at least 1"
        )
    names: list[str] = []
    for head in _HEADS:
        if head in options.heads or (head == "linear" and options.references):
            if not options[head].rates or min(options[head].rates) <= 0:
                raise JaxpartError(f"the {head} probe needs learning rates above 0")
            wanted = options[head].representations
            shapes = check_representations(encoder, wanted, tokens=head == "attentive")
            names += wanted
            if head == "attentive":
                for _, width in shapes.values():
                    check_width(width, options.attentive.num_heads)
    return tuple(dict.fromkeys(names))


def probe_all(
    data: Labelled, config: Any, workdir: WorkDir, progress: Progress
) -> Iterator[tuple[str, float | int]]:
    """Trains and tests every head and reference of a configuration.

    Writes classification_DATA.npz: ids, labels and classes of the test items, and under the name of
    each result its predictions, [seed, item], and its accuracy after every epoch.

    Yields:
      "train", "test", "skipped", "classes"; for each head and representation the accuracies "best",
      "last" and "chosen" as shares of 1 (see `Outcome`), with "_low" and "_high" of their 95 % interval
      and "_sd" over several seeds.
    """
    options = config.classification
    seeds = range(config.seed, config.seed + config.seeds)
    yield "classes", len(data.classes)
    yield "train", len(data.train.labels)
    yield "test", len(data.test.labels)
    yield "skipped", data.train.skipped + data.test.skipped
    kept: dict[str, np.ndarray] = {
        "ids": np.array(data.test.ids),
        "labels": data.test.labels.astype(np.int32),
        "classes": np.array(data.classes),
    }
    keepers: list[Checkpointer] = []
    for head in options.heads:
        for names in _alike(data.train.features, options[head].representations):
            place = f"{data.name}-{head}-{names[0].replace('/', '-')}"

            def keeper(stage: str, place: str = place) -> Checkpointer:
                keepers.append(Checkpointer(workdir.path / "checkpoints" / f"{place}-{stage}"))
                return keepers[-1]

            outcomes = _probe(head, names, data, options, seeds, keeper, progress)
            for name, outcome in zip(names, outcomes, strict=True):
                yield f"{head}/{name}/bn_test_batch", int(options.bn_test == "batch")
                for key, value in _values(outcome, data.test.labels, options[head].rates, seeds):
                    yield f"{head}/{name}/{key}", value
                for key, predictions in outcome.predictions().items():
                    kept[f"{head}/{name}/{key}"] = predictions
                kept[f"{head}/{name}/accuracy_by_epoch"] = outcome.accuracy
    for reference in options.references:
        for name in options.linear.representations:
            progress.say(f"{data.name}: {reference} on {name}")
            train, test = (side.features[name].whole() for side in (data.train, data.test))
            predictions = _REFERENCES[reference](train, data.train.labels, test)[None]
            kept[f"{reference}/{name}/predictions"] = predictions.astype(np.int32)
            for key, value in _interval("chosen", predictions, data.test.labels):
                yield f"{reference}/{name}/{key}", value
    _write(workdir, f"classification_{data.name}.npz", kept)
    for keeper_ in keepers:
        keeper_.delete()
    with contextlib.suppress(OSError):
        (workdir.path / "checkpoints").rmdir()


def _alike(features: Mapping[str, Features], names: Sequence[str]) -> list[list[str]]:
    """Representations of one shape together: they are trained in one program."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        groups.setdefault(features[name].shape[1:], []).append(name)
    return list(groups.values())


def _maker(head: str, width: int, classes: int, options: Any) -> MakeHead:
    if head == "linear":
        batch_norm = options.linear.batch_norm
        return lambda rngs: LinearHead(width, classes, batch_norm=batch_norm, rngs=rngs)
    num_heads = options.attentive.num_heads
    return lambda rngs: AttentiveHead(width, classes, num_heads=num_heads, rngs=rngs)


def _probe(
    head: str,
    names: Sequence[str],
    data: Labelled,
    options: Any,
    seeds: Sequence[int],
    keeper: Any,
    progress: Progress,
) -> list[Outcome]:
    train, test = (
        Items([side.features[name] for name in names], side.labels)
        for side in (data.train, data.test)
    )
    recipe = Recipe(
        rates=tuple(options[head].rates),
        epochs=options.epochs,
        batch_size=options.batch_size,
        bn_test=options.bn_test,
    )
    stages = ("choosing", "final") if options.selection else ("final",)
    seen = {"choosing": -1, "final": -1}
    what = f"{data.name}: {head} on {', '.join(names)}, epochs"
    with progress.bar(what, options.epochs * len(stages)) as advance:

        def log(stage: str, epoch: int) -> None:
            if epoch > seen[stage]:
                advance(epoch - seen[stage])
                seen[stage] = epoch

        return probe(
            _maker(head, train.features[0].shape[-1], len(data.classes), options),
            train,
            test,
            recipe,
            list(seeds),
            groups=data.train.groups if options.selection else None,
            checkpointer=keeper,
            log=log,
        )


def _values(
    outcome: Outcome,
    labels: Int[np.ndarray, " item"],
    rates: Sequence[float],
    seeds: Sequence[int],
) -> Iterator[tuple[str, float | int]]:
    for key, predictions in outcome.predictions().items():
        yield from _interval(key, predictions, labels)
    for i, seed in enumerate(seeds):
        suffix = f"_seed_{seed}" if len(seeds) > 1 else ""
        yield f"best_rate{suffix}", float(rates[outcome.best_rate[i]])
        yield f"best_epoch{suffix}", int(outcome.best_epoch[i])
        if outcome.chosen is not None:
            yield f"chosen_rate{suffix}", float(rates[outcome.rate[i]])
            yield f"chosen_epoch{suffix}", int(outcome.epoch[i])
    for i, rate in enumerate(rates if len(rates) > 1 else ()):
        yield f"best_at_rate_{rate:g}", float(outcome.accuracy[:, i].max(axis=-1).mean())
        yield f"last_at_rate_{rate:g}", float(outcome.accuracy[:, i, -1].mean())


def _interval(
    key: str, predictions: Int[np.ndarray, "seed item"], labels: Int[np.ndarray, " item"]
) -> Iterator[tuple[str, float]]:
    found = accuracy(item_scores(predictions, labels))
    yield key, found.value
    yield f"{key}_low", found.low
    yield f"{key}_high", found.high
    if len(predictions) > 1:
        yield f"{key}_sd", float((predictions == labels).mean(axis=1).std(ddof=1))


def _write(workdir: WorkDir, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    if devices.is_main():
        file = io.BytesIO()
        np.savez_compressed(file, **dict[str, Any](arrays))
        workdir.file(name, file.getvalue())


def classification_section(title: str, task: str, values: Mapping[str, float | int]) -> Section:
    """A row for each data set, head and representation, in percent.

    Args:
      title: Heading.
      task: The task's name in the values' names.
      values: Of all tasks.
    """
    rows = []
    for key in values:
        data, name, *rest = key.split("/")
        if name != task or len(rest) < 3 or rest[-1] not in ("best", "chosen"):
            continue
        place = "/".join([data, name, *rest[:-1]])
        if rest[-1] == "chosen" and f"{place}/best" in values:
            continue  # its row is there
        shown = [values.get(f"{place}/{reading}") for reading in ("best", "last", "chosen")]
        surest = "chosen" if shown[2] is not None else "last"
        low, high = (percent(values[f"{place}/{surest}_{end}"]) for end in ("low", "high"))
        note = f"{low} to {high}"
        if values.get(f"{place}/bn_test_batch") and rest[0] == "attentive":
            note += "; BatchNorm of the test batch"
        rows.append(
            (
                f"{data}, {rest[0]}, {'/'.join(rest[1:-1])}",
                str(values[f"{data}/{name}/test"]),
                *("–" if share is None else percent(share) for share in shown),
                note,
            )
        )
    columns = (
        title,
        "tested",
        "best epoch",
        "last epoch",
        "chosen",
        "95 % interval of the last number",
    )
    return Section(columns, rows)

"""Checks of single records, and of a whole data set in one pass."""

from __future__ import annotations

import collections
import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxpart.data.images import Header, decode, read_header
from jaxpart.data.masks import no_labels, read_mask
from jaxpart.data.parallel import over_tasks
from jaxpart.data.parts import outside
from jaxpart.data.source import Annotation, DatasetInfo, Record, Source
from jaxpart.errors import JaxpartError

_RECORDS_PER_TASK = 64
_PLAIN = "RGB"
_NARROW = 100
"""Images with a larger aspect ratio cannot be cropped."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """Statistics of many records.

    Attributes:
      records: Number of records.
      shortest: Shortest side in pixels.
      longest: Longest side in pixels.
      modes: Number of images that are not plain RGB, by Pillow's colour mode; all are read as RGB.
      several: Number of files with several frames, of which the first is read.
      turned: Number with an EXIF orientation, which is applied only to images with label maps.
      labels: Every value in the label maps, by kind.
    """

    records: int = 0
    shortest: int = 0
    longest: int = 0
    modes: dict[str, int] = dataclasses.field(default_factory=dict)
    several: int = 0
    turned: int = 0
    labels: dict[str, set[int]] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        """One line of text."""
        modes = ", ".join(f"{count} of mode {mode}" for mode, count in self.modes.items())
        sides = f"sides of {self.shortest} to {self.longest} pixels" if self.records else "none"
        return (
            f"{self.records} images, {sides}"
            + (f", {modes} (read as RGB)" if modes else "")
            + (f", {self.several} of several frames (the first is read)" if self.several else "")
            + (
                f", {self.turned} with an EXIF orientation (applied only with label maps)"
                if self.turned
                else ""
            )
        )


def total(summaries: Iterable[Summary]) -> Summary:
    """What was found in all."""
    found = [summary for summary in summaries if summary.records]
    modes: collections.Counter[str] = collections.Counter()
    labels: dict[str, set[int]] = {}
    for summary in found:
        modes.update(summary.modes)
        for kind, values in summary.labels.items():
            labels.setdefault(kind, set()).update(values)
    return Summary(
        records=sum(summary.records for summary in found),
        shortest=min((summary.shortest for summary in found), default=0),
        longest=max((summary.longest for summary in found), default=0),
        modes=dict(sorted(modes.items())),
        several=sum(summary.several for summary in found),
        turned=sum(summary.turned for summary in found),
        labels=labels,
    )


def summarize(pictures: Sequence[Header], labels: Mapping[str, set[int]] | None = None) -> Summary:
    """What was found in some images and in their label maps."""
    modes = collections.Counter(picture.mode for picture in pictures if picture.mode != _PLAIN)
    sides = [side for picture in pictures for side in picture[:2]]
    return Summary(
        len(pictures),
        min(sides, default=0),
        max(sides, default=0),
        dict(sorted(modes.items())),
        several=sum(picture.frames > 1 for picture in pictures),
        turned=sum(picture.orientation > 1 for picture in pictures),
        labels=dict(labels or {}),
    )


def look_at(record: Record) -> Header:
    """Reads the header of a record's image. Raises `JaxpartError` if it is not an image."""
    return read_header(io.BytesIO(record.image), record.annotation.id)


def record_faults(
    record: Record, info: DatasetInfo, labels: dict[str, set[int]] | None = None
) -> Iterator[str]:
    """Decodes a record and yields a sentence for each problem.

    Args:
      record: The record.
      info: Its data set's.
      labels: Collects the values of valid label maps by kind.
    """
    annotation = record.annotation
    try:
        upright = bool(info.mask_names)
        size = decode(record.image, annotation.id, annotation.size, upright=upright).size
    except JaxpartError as error:
        yield str(error)
        return
    for kind, names in info.mask_names.items():
        try:
            mask = read_mask(record, kind, len(names), size[::-1])
        except JaxpartError as error:
            yield str(error)
        else:
            if labels is not None:
                labels.setdefault(kind, set()).update(np.unique(mask).tolist())
    if annotation.label is not None and not 0 <= annotation.label < len(info.class_names):
        yield f"{annotation.id} has the label {annotation.label} of {len(info.class_names)} classes"
    if annotation.keypoints is not None:
        unknown = sorted({*annotation.keypoints.part.tolist()} - info.part_names.keys())
        if unknown:
            yield f"{annotation.id} has keypoints of the unknown parts {unknown}"
        if not np.isfinite(annotation.keypoints.xy).all():
            yield f"{annotation.id} has a keypoint that is not a number"


def _misfits(annotation: Annotation, picture: Header) -> Iterator[str]:
    """Yields a sentence for each thing that is readable but probably a mistake."""
    size, points = (picture.width, picture.height), annotation.keypoints
    if points is None:
        if max(size) > _NARROW * min(size):
            yield f"{annotation.id} has {size[0]} × {size[1]} pixels, too narrow to be cropped"
        return
    away = np.flatnonzero(points.visible & outside(points.xy, size))
    if len(away) and annotation.size in (None, size):
        x, y = points.xy[away[0]].tolist()
        yield (
            f"{annotation.id} has visible keypoints outside its {size[0]} × {size[1]} pixels: {len(away)}, "
            f"the first at ({x:g}, {y:g})"
        )


class Found(NamedTuple):
    """What one task of a check found."""

    ids: list[str]
    faults: list[str]
    summary: Summary


def check_records(sources: Mapping[str, Source], task: tuple[str, int, int]) -> Found:
    """Reads and checks the records [first, last) of a split."""
    split, first, last = task
    source = sources[split]
    ids: list[str] = []
    pictures: list[Header] = []
    labels: dict[str, set[int]] = {}
    faults: list[str] = []
    for index in range(first, last):
        try:
            ids.append(source.annotation(index).id)
            record = source[index]
            pictures.append(look_at(record))
            faults += _misfits(record.annotation, pictures[-1])
        except JaxpartError as error:
            faults.append(str(error))
        else:
            faults += record_faults(record, source.info, labels)
    return Found(ids, faults, summarize(pictures, labels))


def check_source(
    source: Source, *, workers: int | None = None, progress: Callable[[int], None] = lambda n: None
) -> tuple[Summary, list[str]]:
    """Reads every record of a split once.

    Args:
      source: The split.
      workers: Processes; by default one per core.
      progress: Called with the number of records just read.

    Returns:
      The statistics, and a sentence for each problem in the order of the records; then one for each
      repeated id.
    """
    starts = range(0, len(source), _RECORDS_PER_TASK)
    tasks = [("", start, min(start + _RECORDS_PER_TASK, len(source))) for start in starts]
    in_order: list[Found] = []
    for task, result in over_tasks(check_records, {"": source}, tasks, workers):
        in_order.append(result)
        progress(task[2] - task[1])
    faults = [fault for result in in_order for fault in result.faults]
    faults += repeated(key for result in in_order for key in result.ids)
    summary = total(result.summary for result in in_order)
    where = f"{source.info.name} ({source.info.split})"
    for kind, values in summary.labels.items():
        fault = no_labels(where, values, len(source.info.mask_names[kind]))
        faults += [fault] if fault else []
    return summary, faults


def repeated(ids: Iterable[str]) -> list[str]:
    """A sentence for each repeated id."""
    counts = collections.Counter(ids)
    return [f"the id {key} comes {count} times" for key, count in counts.items() if count > 1]

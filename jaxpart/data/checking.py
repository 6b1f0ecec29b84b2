"""Checks of single records, and of a whole data set in one pass."""

from __future__ import annotations

import collections
import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from jaxpart.data.images import Header, decode, read_header
from jaxpart.data.masks import label_fault, read_mask
from jaxpart.data.parallel import over_tasks
from jaxpart.data.parts import outside
from jaxpart.data.source import Annotation, DatasetInfo, Record, Source
from jaxpart.errors import JaxpartError

_RECORDS_PER_TASK = 64
_PLAIN = "RGB"
_MAX_ASPECT_RATIO = 100
"""Images with a larger aspect ratio cannot be cropped."""


@dataclasses.dataclass
class Summary:
    """Statistics of many records.

    Attributes:
      headers: Number of images with each header.
      labels: Each set of values that a label map holds, and the first image whose map does, by kind.
    """

    headers: collections.Counter[Header] = dataclasses.field(default_factory=collections.Counter)
    labels: dict[str, dict[frozenset[int], str]] = dataclasses.field(default_factory=dict)

    def update(self, other: Summary) -> None:
        """Adds the statistics of other records."""
        self.headers.update(other.headers)
        for kind, seen in other.labels.items():
            for values, image in seen.items():
                self.labels.setdefault(kind, {}).setdefault(values, image)

    @property
    def records(self) -> int:
        """Number of records."""
        return self.headers.total()

    @property
    def modes(self) -> dict[str, int]:
        """Number of images that are not plain RGB, by Pillow's colour mode; all are read as RGB."""
        modes: collections.Counter[str] = collections.Counter()
        for header, count in self.headers.items():
            modes[header.mode] += count
        del modes[_PLAIN]
        return dict(sorted(modes.items()))

    def _count(self, rule: Callable[[Header], bool]) -> int:
        return sum(count for header, count in self.headers.items() if rule(header))

    def __str__(self) -> str:
        """One line of text."""
        sides = [side for header in self.headers for side in header[:2]]
        phrases = [
            f"{self.records} images",
            f"sides of {min(sides)} to {max(sides)} pixels" if sides else "none",
        ]
        if modes := ", ".join(f"{count} of mode {mode}" for mode, count in self.modes.items()):
            phrases.append(f"{modes} (read as RGB)")
        if multi_frame := self._count(lambda header: header.frames > 1):
            phrases.append(f"{multi_frame} with several frames (only the first is read)")
        if rotated := self._count(lambda header: header.orientation > 1):
            phrases.append(f"{rotated} with an EXIF orientation (applied only with label maps)")
        return ", ".join(phrases)


def look_at(record: Record) -> Header:
    """Reads the header of a record's image. Raises `JaxpartError` if it is not an image."""
    return read_header(io.BytesIO(record.image), record.annotation.id)


def record_faults(
    record: Record, info: DatasetInfo, labels: dict[str, dict[frozenset[int], str]] | None = None
) -> Iterator[str]:
    """Decodes a record and yields a sentence for each problem.

    Args:
      record: The record.
      info: The data set's metadata.
      labels: Collects the values of valid label maps, see `Summary`.
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
                values = frozenset(np.unique(mask).tolist())
                labels.setdefault(kind, {}).setdefault(values, annotation.id)
    if annotation.label is not None and not 0 <= annotation.label < len(info.class_names):
        yield (
            f"{annotation.id} has the label {annotation.label}, but there are only "
            f"{len(info.class_names)} classes"
        )
    if annotation.keypoints is not None:
        unknown = sorted({*annotation.keypoints.part.tolist()} - info.part_names.keys())
        if unknown:
            yield f"{annotation.id} has keypoints of the unknown parts {unknown}"
        if not np.isfinite(annotation.keypoints.xy).all():
            yield f"{annotation.id} has a keypoint that is not a number"


def _likely_mistakes(annotation: Annotation, header: Header) -> Iterator[str]:
    """Yields a sentence for each annotation that is readable but probably wrong."""
    size, points = (header.width, header.height), annotation.keypoints
    if points is None:
        if max(size) > _MAX_ASPECT_RATIO * min(size):
            yield f"{annotation.id} has {size[0]} × {size[1]} pixels, too narrow to be cropped"
        return
    beyond = np.flatnonzero(points.visible & outside(points.xy, size))
    if len(beyond) and annotation.size in (None, size):
        x, y = points.xy[beyond[0]].tolist()
        yield (
            f"{annotation.id} has visible keypoints outside its {size[0]} × {size[1]} pixels: "
            f"{len(beyond)}, the first at ({x:g}, {y:g})"
        )


def check_records(
    sources: Mapping[str, Source], task: tuple[str, int, int]
) -> tuple[list[str], list[str], Summary]:
    """Reads and checks the records [first, last) of a split: their ids, faults and statistics."""
    split, first, last = task
    source = sources[split]
    ids: list[str] = []
    faults: list[str] = []
    summary = Summary()
    for index in range(first, last):
        try:
            ids.append(source.annotation(index).id)
            record = source[index]
            header = look_at(record)
            summary.headers[header] += 1
            faults += _likely_mistakes(record.annotation, header)
        except JaxpartError as error:
            faults.append(str(error))
        else:
            faults += record_faults(record, source.info, summary.labels)
    return ids, faults, summary


def check_source(
    source: Source, *, workers: int | None = None, progress: Callable[[int], None] = lambda n: None
) -> tuple[Summary, list[str]]:
    """Reads every record of a split once.

    Args:
      source: The split.
      workers: Processes; by default one per core.
      progress: Called with the number of records just read.

    Returns:
      The statistics, and a sentence for each problem in record order, then for each repeated id.
    """
    starts = range(0, len(source), _RECORDS_PER_TASK)
    tasks = [("", start, min(start + _RECORDS_PER_TASK, len(source))) for start in starts]
    ids: list[str] = []
    faults: list[str] = []
    summary = Summary()
    for task, (task_ids, problems, part) in over_tasks(check_records, {"": source}, tasks, workers):
        ids += task_ids
        faults += problems
        summary.update(part)
        progress(task[2] - task[1])
    faults += repeated(ids)
    where = f"{source.info.name} ({source.info.split})"
    for kind, seen in summary.labels.items():
        fault = label_fault(where, seen, len(source.info.mask_names[kind]))
        faults += [fault] if fault else []
    return summary, faults


def repeated(ids: Iterable[str]) -> list[str]:
    """A sentence for each repeated id."""
    counts = collections.Counter(ids)
    return [f"the id {key} appears {count} times" for key, count in counts.items() if count > 1]

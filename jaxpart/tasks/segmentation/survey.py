"""Checks every label map and image size before hours of training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxpart.data.identity import identity_of
from jaxpart.data.images import upright_size
from jaxpart.data.indexes import expected_bytes, kept_document
from jaxpart.data.masks import label_fault, read_mask
from jaxpart.data.patch_images import in_order
from jaxpart.data.segmentation_transforms import fit_size, smallest_scale
from jaxpart.data.source import Source
from jaxpart.errors import JaxpartError, listed
from jaxpart.features.cache import size_text
from jaxpart.io.files import user_cache
from jaxpart.labels import IGNORE
from jaxpart.runs.progress import Progress
from jaxpart.tasks.segmentation.inputs import SegmentationSet


def survey(data: SegmentationSet, progress: Progress) -> None:
    """Reads every label map of both splits once, and the size of every image, unless an earlier run did.

    Reports EXIF orientations, classes that are tested without a training pixel, which lower the means, and
    labels that seem to count the classes from 0.

    Raises:
      JaxpartError: A record cannot be read, a label map has invalid labels or another size than its
        image, an image is too narrow for the scale of its split, or see `label_fault`.
    """
    splits = (data.train, smallest_scale(data.train_scale)), (data.test, data.test_scale)
    seen: list[set[int]] = []
    for source, scale in splits:
        progress.say_once(source.info.remarks)
        values, turned = _cached_labels(source, data, scale, progress)
        seen.append(set(values))
        if turned:
            progress.say(
                f"{data.name} ({source.info.split}): images with an EXIF orientation: {len(turned)} (the "
                f"first {turned[0]}); it is applied to them, but not to their label maps"
            )
    if (seen[0] | seen[1]) - {IGNORE} == set(range(len(data.classes))):
        progress.say(
            f"{data.name}: all classes have pixels but the last, {data.classes[-1]}, as if label 0 were "
            f"{data.classes[0]}; it is the background, so add 1 to the labels if they count from 0"
        )
    untrained = [data.labels[v] for v in sorted(seen[1] - seen[0]) if 0 < v < len(data.labels)]
    if untrained:
        progress.say(
            f"{data.name}: no training pixels of {listed(untrained, 5)}; still included in the test"
        )


def _cached_labels(
    source: Source, data: SegmentationSet, scale: tuple[int, int], progress: Progress
) -> tuple[list[int], list[str]]:
    """The values in the label maps of a split, and its images with an EXIF orientation.

    Cached for the user once all are valid.
    """

    def check_all() -> tuple[list[int], list[str]]:
        if cache_bytes := expected_bytes(source):
            progress.say(
                f"{data.name} ({source.info.split}): its label maps are cached in {user_cache()}, about "
                f"{size_text(cache_bytes)}"
            )
        with progress.bar(f"{data.name}: checking labels", len(source)) as advance:
            found, turned = _labels(source, data, scale, advance)
        fault = label_fault(f"{data.name} ({source.info.split})", found, len(data.labels))
        if fault:
            raise JaxpartError(fault)
        return sorted(frozenset[int]().union(*found)), turned

    key = f"labels {data.kind} {len(data.labels)} {scale}"
    return kept_document(f"{key} {identity_of(source)}", check_all)


def _labels(
    source: Source,
    data: SegmentationSet,
    scale: tuple[int, int],
    advance: Callable[[int], None],
) -> tuple[dict[frozenset[int], str], list[str]]:
    """Each set of values that a label map holds, and the first image whose map does; and as above."""

    def check(index: int) -> tuple[frozenset[int], str, bool]:
        record = source[index]
        name = record.annotation.id
        width, height, turned = upright_size(record.image, name)
        try:
            fit_size((width, height), scale)
        except JaxpartError as error:
            raise JaxpartError(f"{name}: {error}") from error
        mask = read_mask(record, data.kind, len(data.labels), (height, width))
        return frozenset(np.unique(mask).tolist()), name, turned

    labels: dict[frozenset[int], str] = {}
    rotated: list[str] = []
    for values, name, turned in in_order(check, range(len(source))):
        labels.setdefault(values, name)
        rotated += [name] if turned else []
        advance(1)
    return labels, rotated

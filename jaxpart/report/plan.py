"""Announces what a report has to encode, and about how long that takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from jaxpart.errors import JaxpartError
from jaxpart.features.extract import count_absent, seconds_per_image
from jaxpart.report.evaluate import OpenedRun, Work
from jaxpart.report.patch_sets import PatchSet
from jaxpart.runs.progress import Progress, duration

_PROBE = 8
"""Images that an encoder is timed on: few, because a ViT-B takes a third of a second each on a CPU."""


def patch_sets(
    works: Sequence[Work], progress: Progress, *, quick: bool
) -> Iterator[PatchSet | str]:
    """Yields patch sets with their neighbours, or why one is missing or incomplete.

    First prints what they need encoded, and about how long it takes.

    Args:
      works: The patch sets to compute.
      progress: Shows the progress.
      quick: Whether to leave out whatever has to be encoded.
    """
    ready: list[Work] = []
    absent: list[tuple[OpenedRun, int, int, str]] = []  # run, side, number of images, patch set
    for work in works:
        views = []
        for opened, view in work.views:
            count = count_absent(
                opened.retriever, view, opened.representations, opened.config.features, progress
            )
            if count and quick:
                yield (
                    f"{work.shown.name} of {opened.run.label}: left out by --quick, the feature cache "
                    f"lacks {count:,} of {len(view.ids):,}"
                )
                continue
            views.append((opened, view))
            if count:
                absent.append((opened, view.size, count, work.shown.name))
        if views:
            ready.append(dataclasses.replace(work, views=views))
    if absent:
        _announce(absent, progress)
    for work in ready:
        try:
            yield work.done(progress)
        except JaxpartError as error:
            yield f"{work.shown.name}: skipped, {error}"


def _announce(absent: Sequence[tuple[OpenedRun, int, int, str]], progress: Progress) -> None:
    """Prints what will be encoded, then times each encoder and prints an estimate."""
    for opened, _, count, name in absent:
        progress.say(f"to encode with {opened.run.label}: {name} ({count:,} images)")
    speeds: dict[tuple[str, int], float] = {}
    seconds = 0.0
    for opened, size, count, _ in absent:
        key = opened.run.label, size
        if key not in speeds:
            encoder, names = opened.retriever, opened.representations
            speeds[key] = seconds_per_image(encoder, size, names, batch_size=_PROBE)
        seconds += count * speeds[key]
    progress.say(
        f"encoding will take about {duration(seconds)}, timed on a few images; --quick skips it"
    )

"""Announces what a report has to encode, and about how long that takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from jaxpart.errors import JaxpartError
from jaxpart.features.extract import count_absent
from jaxpart.report.evaluate import Work
from jaxpart.report.patch_sets import PatchSet
from jaxpart.runs.progress import Progress, duration
from jaxpart.tasks.estimate import encoding_seconds
from jaxpart.tasks.plans import Pass


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
    absent: list[Pass] = []
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
                absent.append(Pass(opened.retriever, view.size, opened.representations, count))
                progress.say(
                    f"to encode with {opened.run.label}: {work.shown.name} ({count:,} images)"
                )
        if views:
            ready.append(dataclasses.replace(work, views=views))
    if absent:
        progress.say(
            f"encoding will take about {duration(encoding_seconds(absent, {}))}, timed on a few images; "
            "--quick skips it"
        )
    for work in ready:
        try:
            yield work.done(progress)
        except JaxpartError as error:
            yield f"{work.shown.name}: skipped, {error}"

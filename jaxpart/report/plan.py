"""What a report has to encode, and about how long that takes: said before it begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from jaxpart.errors import JaxpartError
from jaxpart.features.extract import count_absent, seconds_per_image
from jaxpart.report.evaluate import Looker, Work
from jaxpart.report.patch_sets import PatchSet
from jaxpart.runs.progress import Progress, duration

_PROBE = 8
"""Images that an encoder is timed on: few, for a ViT-B takes a third of a second for one on a CPU."""


@dataclasses.dataclass(frozen=True)
class Step:
    """Images of a patch set that the cache lacks.

    Attributes:
      looker: Whose encoder has to see them.
      size: Their side in pixels.
      count: How many they are.
      what: "critters, windows".
    """

    looker: Looker
    size: int
    count: int
    what: str


def patch_sets(
    works: Sequence[Work], progress: Progress, *, quick: bool
) -> Iterator[tuple[PatchSet | None, str]]:
    """Patch sets with their neighbours; says first what is encoded for them, and about how long it takes.

    Args:
      works: What is to be done.
      progress: Shows how far it is.
      quick: Whether what has to be encoded is left out.

    Yields:
      A patch set and "", or None and why there is none, or what is left out of one.
    """
    ready: list[Work] = []
    steps: list[Step] = []
    for work in works:
        views = []
        for looker, view in work.views:
            count = count_absent(
                looker.retriever, view, looker.representations, looker.config.features, progress
            )
            if count and quick:
                yield (
                    None,
                    f"{work.shown.name} of {looker.run.label}: left out by --quick, the feature cache "
                    f"lacks {count:,} of {len(view.ids):,}",
                )
                continue
            views.append((looker, view))
            if count:
                steps.append(Step(looker, view.size, count, work.shown.name))
        if views:
            ready.append(dataclasses.replace(work, views=views))
    if steps:
        _announce(steps, progress)
    for work in ready:
        try:
            yield work.done(progress), ""
        except JaxpartError as error:
            yield None, f"{work.shown.name}: skipped, {error}"


def _announce(steps: Sequence[Step], progress: Progress) -> None:
    """Says what is encoded, then measures each encoder and says how long it takes."""
    for step in steps:
        progress.say(f"to encode: {step.count:,} of {step.what}, by {step.looker.run.label}")
    speeds: dict[tuple[str, int], float] = {}
    seconds = 0.0
    for step in steps:
        key = step.looker.run.label, step.size
        if key not in speeds:
            encoder, names = step.looker.retriever, step.looker.representations
            speeds[key] = seconds_per_image(encoder, step.size, names, batch_size=_PROBE)
        seconds += step.count * speeds[key]
    progress.say(
        f"encoding takes about {duration(seconds)}, as measured on a few images; --quick leaves it out"
    )

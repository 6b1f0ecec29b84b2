"""All pictures of a report."""

from __future__ import annotations

from collections.abc import Sequence

from jaxpart.errors import JaxpartError
from jaxpart.report.evaluate import Looker
from jaxpart.report.figures import charts, galleries, reconstructions, tokens
from jaxpart.report.figures.style import Picture, house_style
from jaxpart.report.patch_sets import PatchSet
from jaxpart.report.runs import Run
from jaxpart.runs.progress import Progress


def run_figures(runs: Sequence[Run]) -> list[Picture | str]:
    """What the numbers of runs give: pictures, and lines that say what is missing."""
    makers = (charts.levels, charts.per_part, charts.depth, charts.learning)
    with house_style():
        return [found for chart in makers for found in chart(runs)]


def seen_figures(
    lookers: Sequence[Looker], sets: Sequence[PatchSet], progress: Progress, *, quick: bool
) -> list[Picture | str]:
    """What the encoders and the data of runs give: pictures, and lines that say what is missing.

    Args:
      lookers: The runs.
      sets: Their patch sets.
      progress: Shows how far it is.
      quick: Whether that is left out for which an encoder has to see images.
    """
    found: list[Picture | str] = []
    seen = []
    with house_style():
        for one in sets:
            found += galleries.galleries(one)
        if not sets:
            found.append("patch galleries: skipped, there are no patches to look at")
        if quick:
            found.append(
                "attention, PCA of tokens, masked-part reconstructions: left out by --quick"
            )
            return found
        with progress.bar("attention and PCA of tokens", len(lookers)) as advance:
            for looker in lookers:
                try:
                    seen.append(tokens.look(looker))
                except JaxpartError as error:
                    found.append(
                        f"{looker.run.label}: attention and PCA of tokens skipped, {error}"
                    )
                advance(1)
        found += filter(None, map(tokens.attention, seen))
        if seen:
            found.append(tokens.principal_components(seen))
        found += reconstructions.reconstructions(lookers, progress)
    return found

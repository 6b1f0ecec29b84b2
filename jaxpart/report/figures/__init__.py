"""All pictures of a report."""

from __future__ import annotations

from collections.abc import Sequence

from jaxpart.report.evaluate import Looker
from jaxpart.report.figures import charts, galleries, part_maps, reconstructions, tokens
from jaxpart.report.figures.style import Picture, house_style
from jaxpart.report.patch_sets import PatchSet
from jaxpart.report.runs import Run
from jaxpart.report.seen import Seen
from jaxpart.runs.progress import Progress


def run_figures(runs: Sequence[Run]) -> list[Picture | str]:
    """What the numbers of runs give: pictures, and lines that say what is missing."""
    makers = (charts.levels, charts.per_part, charts.depth, charts.learning, part_maps.part_maps)
    with house_style():
        return [found for chart in makers for found in chart(runs)]


def seen_figures(
    lookers: Sequence[Looker],
    sets: Sequence[PatchSet],
    seen: Sequence[Seen],
    progress: Progress,
    *,
    quick: bool,
) -> list[Picture | str]:
    """What the encoders and the data of runs give: pictures, and lines that say what is missing.

    Args:
      lookers: The runs.
      sets: Their patch sets.
      seen: Whole images of theirs.
      progress: Shows how far it is.
      quick: Whether that is left out for which an encoder has to see images.
    """
    found: list[Picture | str] = []
    with house_style():
        for one in sets:
            found += galleries.galleries(one)
        if not sets:
            found.append("patch galleries: skipped, there are no patches to look at")
        found += token_figures(seen)
        if quick:
            found.append("masked-part reconstructions: left out by --quick")
        else:
            found += reconstructions.reconstructions(lookers, progress)
    return found


def token_figures(seen: Sequence[Seen], attended: int = 4) -> list[Picture]:
    """Attention and principal components of whole images.

    Args:
      seen: Images as encoders saw them.
      attended: Images of each whose attention is shown.
    """
    with house_style():
        found = [tokens.attention(one, attended) for one in seen]
        pictures: list[Picture] = [tokens.principal_components(seen)] if seen else []
        return pictures + [picture for picture in found if picture is not None]

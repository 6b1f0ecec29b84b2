"""All figures of a report."""

from __future__ import annotations

from collections.abc import Sequence

from jaxpart.report.encoded_images import EncodedImages
from jaxpart.report.evaluate import OpenedRun
from jaxpart.report.figures import charts, galleries, part_maps, reconstructions, tokens
from jaxpart.report.figures.style import Picture, house_style
from jaxpart.report.patch_sets import PatchSet
from jaxpart.report.runs import Run
from jaxpart.runs.progress import Progress


def run_figures(runs: Sequence[Run]) -> list[Picture | str]:
    """Figures of the results of runs, and messages about what is missing."""
    makers = (charts.levels, charts.per_part, charts.depth, charts.learning, part_maps.part_maps)
    with house_style():
        return [figure for chart in makers for figure in chart(runs)]


def encoder_figures(
    opened_runs: Sequence[OpenedRun],
    sets: Sequence[PatchSet],
    encoded: Sequence[EncodedImages],
    progress: Progress,
    *,
    quick: bool,
) -> list[Picture | str]:
    """Figures of the runs' encoders and data, and messages about what is missing.

    Args:
      opened_runs: The runs.
      sets: Their patch sets.
      encoded: Whole images of each run.
      progress: Shows the progress.
      quick: Whether to leave out figures that need images encoded.
    """
    figures: list[Picture | str] = []
    with house_style():
        for patches in sets:
            figures += galleries.galleries(patches)
        if not sets:
            figures.append("patch galleries: skipped, there are no patches")
        figures += token_figures(encoded)
        if quick:
            figures.append("masked-part reconstructions: left out by --quick")
        else:
            figures += reconstructions.reconstructions(opened_runs, progress)
    return figures


def token_figures(encoded: Sequence[EncodedImages], attended: int = 4) -> list[Picture]:
    """Attention and principal components of whole images.

    Args:
      encoded: Whole images of each encoder.
      attended: Number of images whose attention is shown, per encoder.
    """
    with house_style():
        maps = [tokens.attention(images, attended) for images in encoded]
        pictures: list[Picture] = [tokens.principal_components(encoded)] if encoded else []
        return pictures + [picture for picture in maps if picture is not None]

"""Builds a report: reads runs, fills tables, draws figures, and writes them all to one folder."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

from jaxpart.data.sets import find_set
from jaxpart.errors import JaxpartError
from jaxpart.io.files import path_of
from jaxpart.report import formats
from jaxpart.report.encoded_images import SHOWN, EncodedImages, encode_runs
from jaxpart.report.evaluate import Limits, OpenedRun, prepared
from jaxpart.report.explorer import explorer
from jaxpart.report.figures import encoder_figures, run_figures, slide
from jaxpart.report.figures.style import Picture
from jaxpart.report.folder import mark, report_folder, save_pictures
from jaxpart.report.match import match
from jaxpart.report.page import page
from jaxpart.report.patch_sets import PatchSet
from jaxpart.report.plan import patch_sets
from jaxpart.report.runs import Run, read_runs
from jaxpart.report.seeds import averaged
from jaxpart.report.summary import summaries
from jaxpart.report.tables import other_tables, paper_tables
from jaxpart.runs.progress import Progress
from jaxpart.study.claims import CLAIMS
from jaxpart.study.entries import read_study
from jaxpart.study.verdicts import judge

_T = TypeVar("_T")


def make_report(
    folders: Sequence[str | pathlib.Path],
    out: pathlib.Path,
    limits: Limits | None,
    progress: Progress,
) -> None:
    """Writes index.html, explorer.html, match.html, tables and figures.

    Args:
      folders: Work directories of finished runs.
      out: The folder to write; an earlier report there is replaced.
      limits: How much is shown of encoders and data; None: neither is opened.
      progress: Shows the progress, and what was skipped.

    Raises:
      JaxpartError: A folder is not that of a finished run, or the report cannot be written.
    """
    runs = read_runs(folders)
    own = {run.path for run in runs}  # the others are a study's
    claims = [
        (str(folder), judge(read_study(folder).entries, CLAIMS))
        for folder in map(path_of, folders)
        if folder not in own
    ]
    with report_folder(out) as folder:
        rows = [*runs, *averaged(runs)]
        summary_tables, tables = summaries(rows), [*paper_tables(rows), *other_tables(rows)]
        (folder / "tables").mkdir()
        for table in (*summary_tables, *tables):
            for suffix, text in (
                ("md", formats.markdown(table)),
                ("tex", formats.latex(table)),
                ("csv", formats.as_csv(table)),
            ):
                path = folder / "tables" / f"{table.name}.{suffix}"
                path.write_text(text, encoding="utf-8", errors="replace")
        pictures: list[Picture] = []
        skipped: list[str] = []
        sets: list[PatchSet] = []
        encoded: list[EncodedImages] = []
        if limits is not None:
            opened_runs = [OpenedRun(run, functions=limits.functions) for run in runs]
            prepared_sets, skipped = _split(prepared(opened_runs, limits, progress))
            if not limits.quick:
                progress.say(f"to encode with each encoder: {SHOWN} whole images")
            sets, missing = _split(patch_sets(prepared_sets, progress, quick=limits.quick))
            skipped += missing
            if limits.quick:
                skipped.append("attention, PCA of tokens, two images matched: left out by --quick")
            else:
                encoded, missing = encode_runs(opened_runs, progress)
                skipped += missing
            pictures, missing = _split(
                encoder_figures(opened_runs, sets, encoded, progress, quick=limits.quick)
            )
            skipped += missing
            if encoded:
                (folder / "match.html").write_text(
                    match(encoded), encoding="utf-8", errors="replace"
                )
            total = sum(len(patches.images) + len(patches.thumbnails or ()) for patches in sets)
            with progress.bar("explorer: packing pictures", total) as advance:
                text = explorer(sets, advance)
            (folder / "explorer.html").write_text(text, encoding="utf-8", errors="replace")
        charts, missing = _split(run_figures(runs))
        skipped += missing
        saved = save_pictures([*pictures, *charts], folder, progress)
        for line in skipped:
            progress.say(line)
        text = page(
            runs,
            summary_tables,
            tables,
            claims,
            saved,
            skipped,
            explorer=bool(sets),
            match=bool(encoded),
        )
        (folder / "index.html").write_text(text, encoding="utf-8", errors="replace")
        mark(folder, {"workdirs": [str(run.path) for run in runs], "skipped": skipped})


def make_slide(
    folders: Sequence[str | pathlib.Path], out: pathlib.Path, limits: Limits, progress: Progress
) -> None:
    """Writes one figure of the part-to-whole task, for a talk.

    Args:
      folders: Work directories of finished runs; shows the first that retrieved parts by both encoded
        and projected features.
      out: A .png or .svg file.
      limits: How many patches are encoded.
      progress: Shows the progress, and what was skipped.

    Raises:
      JaxpartError: No run is suitable, or the file cannot be written.
    """
    if out.suffix not in (".png", ".svg"):
        raise JaxpartError(f"a slide is written as .png or .svg, not as {out}; name such a file")
    for run in read_runs(folders):
        for data in dict.fromkeys(row.data for row in run.rows):
            if slide.keys_of(run, data):
                patches = _part_patches(run, data, limits, progress)
                slide.save(slide.slide(run, data, patches), out)
                return
    raise JaxpartError(
        "no run retrieved parts by both encoded and projected features; run the task retrieval "
        "with a method that has a projector"
    )


def _part_patches(run: Run, data: str, limits: Limits, progress: Progress) -> PatchSet:
    """Part patches of a data set with the run's neighbours."""
    why = f"the configuration of {run.path} does not name {data}"
    opened = OpenedRun(run, functions=limits.functions)
    opened.config.data.sets = tuple(
        name for name in opened.config.data.sets if find_set(name)[0] == data
    )
    works, missing = _split(prepared([opened], limits, progress))
    sets, reasons = _split(patch_sets(works, progress, quick=limits.quick))
    if not sets:
        raise JaxpartError([why, *missing, *reasons][-1])
    return sets[0]


def _split(items: Iterable[_T | str]) -> tuple[list[_T], list[str]]:
    """The results, and the reasons why others could not be made."""
    results: list[_T] = []
    reasons: list[str] = []
    for item in items:
        if isinstance(item, str):
            reasons.append(item)
        else:
            results.append(item)
    return results, reasons

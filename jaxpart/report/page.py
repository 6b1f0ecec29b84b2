"""The report's first page: the summary and the claims, the pictures, the tables, and what is missing."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from typing import Any

import jinja2
import markupsafe

from jaxpart.report import formats
from jaxpart.report.figures.style import Picture
from jaxpart.report.runs import Run
from jaxpart.report.seen import Seen
from jaxpart.report.static import digest
from jaxpart.report.tables import Table
from jaxpart.study.verdicts import Judged, numbers

Pictures = Sequence[tuple[Picture, tuple[int, int]]]


def page(
    runs: Sequence[Run],
    summaries: Sequence[Table],
    tables: Sequence[Table],
    claims: Sequence[tuple[str, Sequence[Judged]]],
    pictures: Pictures,
    skipped: Sequence[str],
    *,
    explorer: bool,
    match: bool,
) -> str:
    """index.html; names are escaped, and it may load nothing but the pictures beside it.

    Args:
      runs: What the report is of.
      summaries: Shown first.
      tables: All others in order; those in which nothing was measured are folded up.
      claims: Of each study, its folder and what became of the paper's claims.
      pictures: Shown in order, each with its width and height in pixels of the page.
      skipped: Lines that say what is missing.
      explorer: Whether there is one to link to.
      match: Whether there is a page of two images to link to.
    """
    return _render(
        "page.html",
        "jaxpart report",
        pictures,
        skipped,
        decimal=formats.number,
        signed=formats.signed,
        interval=formats.interval,
        deviation=formats.deviation,
        compared=numbers,
        runs=runs,
        summaries=[table.upright for table in summaries],
        measured=[table.upright for table in tables if table.measured],
        empty=[table for table in tables if not table.measured],
        claims=claims,
        explorer=explorer,
        match=match,
    )


def pictures_page(
    seen: Seen, folder: str, available: int, pictures: Pictures, skipped: Sequence[str]
) -> str:
    """index.html of a folder of images without annotations; as `page`.

    Args:
      seen: The images.
      folder: Where they lie.
      available: How many images the folder has.
      pictures: See `page`.
      skipped: See `page`.
    """
    title = f"What {seen.label} sees"
    values = {"seen": seen, "folder": folder, "available": available}
    return _render("pictures.html", title, pictures, skipped, **values)


def _render(
    template: str, title: str, pictures: Pictures, skipped: Sequence[str], **values: Any
) -> str:
    folder = importlib.resources.files(__package__) / "templates"
    style = (folder / "page.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
    )
    return environment.get_template(template).render(
        title=title,
        pictures=pictures,
        skipped=skipped,
        style=markupsafe.Markup(style),
        policy=f"default-src 'none'; style-src '{digest(style)}'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'",
        **values,
    )

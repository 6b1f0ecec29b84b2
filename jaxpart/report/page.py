"""The main page of a report: summary, claims, pictures, tables, and what is missing."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from typing import Any

import jinja2
import markupsafe

from jaxpart.report import formats
from jaxpart.report.encoded_images import EncodedImages
from jaxpart.report.figures.style import Picture
from jaxpart.report.runs import Run
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
    """The text of index.html. Names are escaped, and the page may load only the pictures next to it.

    Args:
      runs: The runs of the report.
      summaries: The tables shown first.
      tables: All other tables in order; those without a measurement are collapsed.
      claims: Each study's folder and its verdicts on the paper's claims.
      pictures: The pictures in order, each with its width and height in CSS pixels.
      skipped: Messages about what is missing.
      explorer: Whether to link to explorer.html.
      match: Whether to link to match.html.
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
    encoded: EncodedImages, folder: str, available: int, pictures: Pictures, skipped: Sequence[str]
) -> str:
    """The text of index.html for a folder of images without annotations; see `page`.

    Args:
      encoded: The images with their tokens.
      folder: The images' folder.
      available: How many images the folder has.
      pictures: See `page`.
      skipped: See `page`.
    """
    title = f"What {encoded.label} sees"
    values = {"encoded": encoded, "folder": folder, "available": available}
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

"""The report's first page: what was run, the tables, the pictures, and what is missing."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Sequence

import jinja2
import markupsafe

from jaxpart.report import formats
from jaxpart.report.figures.style import Picture
from jaxpart.report.runs import Run
from jaxpart.report.tables import Table


def page(
    runs: Sequence[Run],
    tables: Sequence[Table],
    pictures: Sequence[tuple[Picture, int]],
    skipped: Sequence[str],
    *,
    explorer: bool,
) -> str:
    """index.html; names are escaped, and it may load nothing but the pictures beside it.

    Args:
      runs: What the report is of.
      tables: Shown in order.
      pictures: Shown in order, each with its width in pixels of the page.
      skipped: Lines that say what is missing.
      explorer: Whether there is one to link to.
    """
    folder = importlib.resources.files(__package__) / "templates"
    style = (folder / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(
        number=formats.number,
        signed=formats.signed,
        interval=formats.interval,
        deviation=formats.deviation,
    )
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    return template.render(
        runs=runs,
        tables=tables,
        pictures=pictures,
        skipped=skipped,
        explorer=explorer,
        style=markupsafe.Markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'",
    )

"""Self-contained web pages: script, style and data are in one file, and nothing else may load."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
from collections.abc import Sequence
from typing import Any

import jinja2
import markupsafe
import numpy as np


def static_page(package: str, scripts: Sequence[str], title: str, data: Any) -> str:
    """Builds a page from a package's page.html and style.css.

    The data is not trusted: it is embedded as JSON, and the content security policy allows only this
    page's script and style, and no connection.

    Args:
      package: The package with the files, its `__package__`.
      scripts: Scripts in the package `jaxpart.report`, "match/match.js", in the order to join them.
      title: Title of the page.
      data: The data that the scripts read as JSON from the element "data".
    """
    script = "\n".join(_text("jaxpart.report", name) for name in scripts)
    script = f'"use strict";\n(() => {{\n{script}\n}})();\n'
    style = _text(package, "style.css")
    policy = (
        f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; "
        "img-src blob: data:; base-uri 'none'; form-action 'none'"
    )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_text(package, "page.html")).render(
        title=title,
        policy=policy,
        script=markupsafe.Markup(script),
        style=markupsafe.Markup(style),
        # Nothing in the data can end the script element.
        data=markupsafe.Markup(json.dumps(data, allow_nan=False).replace("<", "\\u003c")),
    )


def digest(text: str) -> str:
    """The hash of a script or a style, as a content security policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def numbers(values: np.ndarray, dtype: str) -> str:
    """The bytes of an array as base64."""
    return base64.b64encode(np.ascontiguousarray(values).astype(dtype).tobytes()).decode()


def _text(package: str, name: str) -> str:
    return (importlib.resources.files(package) / name).read_text(encoding="utf-8")

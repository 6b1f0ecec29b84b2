"""Sphinx configuration: `sphinx-build -W -n docs build/docs`, where every warning is an error.

Two kinds of comments in a page are replaced by content from the code, so that nothing is written twice:
`<!-- modules: GLOB … -->` by the docstrings of the modules, `<!-- table: NAME -->` by a table.
"""

import importlib.metadata
import pathlib
import re
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # document this source tree, not an installed version

project = "jaxpart"
author = "the jaxpart authors"
copyright = "the jaxpart authors, Apache-2.0"
release = version = importlib.metadata.version("jaxpart")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
html_theme = "furo"
html_title = "jaxpart"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # heading levels that links can target
nb_execution_mode = "force"  # a notebook's stored outputs are for readers on GitHub
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
suppress_warnings = ["ref.python"]  # modules may share a class name; a link resolves to either
default_role = "code"  # docstrings put names in single backticks
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Only names documented on this site need to resolve, not other libraries, shapes in annotations or type
# variables.
nitpick_ignore_regex = [
    ("py:.*", r"(?!jaxpart\.|convert\.).*"),
    ("py:.*", r"(.*\._\w+|jaxpart\.training\.State)"),
]


def modules(globs: str) -> str:
    """Directives for the docstrings of the modules whose files match."""
    files = [path for pattern in globs.split() for path in sorted(ROOT.glob(pattern))]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    shown = [
        name.removesuffix(".__init__")
        for name, file in zip(names, files, strict=True)
        if file.stem != "__main__" and file.read_text(encoding="utf-8").count("\n") > 1
    ]
    directives = "\n".join(f".. automodule:: {name}\n   :members:" for name in shown)
    return f"```{{eval-rst}}\n{directives}\n```"


def families() -> Iterator[tuple[str, ...]]:
    """The facts about each family of encoders."""
    from jaxpart.encoders.families import families

    yield (
        "family",
        "what",
        "tokens before the patches",
        "patch",
        "positions",
        "projector",
        "layouts",
    )
    for facts in families().values():
        patches = ", ".join(map(str, facts.patch_sizes))
        yield (
            *(f"`{facts.name}`", facts.title, facts.prefix, patches, facts.positions),
            *(facts.projector, ", ".join(facts.layouts)),
        )


def releases() -> Iterator[tuple[str, ...]]:
    """The released checkpoints by name."""
    from convert.releases import RELEASES

    yield ("family", "name", "trained on", "epochs", "licence", "citation", "checked by")
    for release in RELEASES.values():
        checked = "by hand" if release.by_hand else release.checked
        name, arxiv = f"`@{release.name}`", release.citation.removeprefix("arXiv ")
        name = f"[{name}]({release.url})" if release.url else name
        cited = f"[{release.citation}](https://arxiv.org/abs/{arxiv})"
        epochs = release.epochs or "not stated"
        yield (f"`{release.family}`", name, release.data, epochs, release.licence, cited, checked)


def sets() -> Iterator[tuple[str, ...]]:
    """The data sets by name."""
    from jaxpart.data.sets import ALIASES, SETS

    short = {name: alias for alias, name in ALIASES.items()}
    yield ("name", "contents", "splits", "licence")
    for name, entry in SETS.items():
        also = f", `{short[name]}`" if name in short else ""
        yield (f"`{name}`{also}", entry.content, ", ".join(entry.all_splits), entry.licence)


def options() -> Iterator[tuple[str, ...]]:
    """Every field of a part configuration, with its allowed values."""
    from jaxpart.config import part_config
    from jaxpart.runs.config_fields import field_of
    from jaxpart.runs.config_rules import fields_of

    bundled, paper = (
        dict(fields_of(part_config("ibot", variant, projector=True))) for variant in ("", "paper")
    )
    yield ("field", "meaning", "bundled", "`:paper`", "allowed values")
    for name, value in bundled.items():
        field = field_of(name)
        several = "any of several; " if field.rule is not None and field.rule.many else ""
        other = "" if paper.get(name) == value else f"`{paper.get(name)!r}`"
        allowed = several + field.allowed.replace("|", "\\|")
        yield (f"`config.{name}`", field.meaning, f"`{value!r}`", other, allowed)


TABLES = {table.__name__: table for table in (families, releases, sets, options)}


def fill_in(app: object, page: str, source: list[str]) -> None:
    """Replaces such comments in a page."""

    def table(name: str) -> str:
        head, *rows = TABLES[name]()
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    makers = {"modules": modules, "table": table}
    pattern = rf"^<!-- ({'|'.join(makers)}): (.+) -->$"
    source[0] = re.sub(pattern, lambda m: makers[m[1]](m[2]), source[0], flags=re.M)


def setup(app: object) -> None:
    """Called by Sphinx."""
    app.connect("source-read", fill_in)

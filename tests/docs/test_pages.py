"""What the documentation names is there: commands, flags, fields, names and files.

`tests/docs/run_pages.py` runs the blocks; here nothing is run.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import importlib.util
import io
import re
import runpy
import sys

import pytest
from absl import flags
from ml_collections import config_flags
from pages import PAGES, README, ROOT, blocks, commands, paths, spans

from jaxpart import command
from jaxpart.config import locate
from jaxpart.errors import JaxpartError

ALL = [README, *PAGES]
TO_BE_WRITTEN = {"convert/families/msn.py", "tests/convert/test_family_msn.py"}
"""By the reader of docs/extending.md."""
OTHERS = {"pip", "venv", "pytest"}


def names(page):
    return str(page.relative_to(ROOT))


class Parsed(Exception):
    """The command line was read; nothing shall be run."""


@pytest.fixture
def parse(monkeypatch):
    """Reads a command line as the command does, and runs nothing; fails as it does."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(self, *given):
        original(self, *given)
        raise Parsed

    def run(module, arguments):
        spec = importlib.util.find_spec(module)
        assert spec is not None, f"there is no module {module}"
        if module.startswith("benchmarks"):
            return  # some import PyTorch; their options are looked up
        package = spec.submodule_search_locations is not None
        found = importlib.import_module(f"{module}.__main__" if package else module)
        if getattr(found, "command", None) is command:
            return configured(module, arguments)
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        told = io.StringIO()
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            try:
                status = found.main()
            except Parsed:
                status = 0
            except SystemExit as end:
                status = end.code
        assert not status, told.getvalue()

    def configured(module, arguments):
        given = command._command_line([module, *arguments])
        monkeypatch.setattr(sys, "argv", given)  # where ml_collections looks for overrides
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", lock_config=True, flag_values=values)
        for flag in flags.FLAGS.flags_by_module_dict()[command.__name__]:
            if flag.name != "config":
                values[flag.name] = copy.deepcopy(flag)
        assert values(given) == [module], "an argument that is no flag"

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    return run


@pytest.fixture(scope="module")
def options():
    """Every option of every command, by its name."""
    sources = [
        file.read_text(encoding="utf-8")
        for folder in ("jaxpart", "convert", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
    ]
    found = {"--help", "--config"}
    for pattern, prefix in (
        (r'add_argument\(\s*"(--[\w-]+)"', ""),
        (r'DEFINE_\w+\("([\w-]+)"', "--"),
    ):
        found |= {prefix + name for source in sources for name in re.findall(pattern, source)}
    return found


@pytest.fixture(scope="module")
def fields():
    """Every field of every embedded configuration and variant, by its dotted path."""
    found = set()
    for file in sorted((ROOT / "configs").rglob("*.py")):
        get_config = runpy.run_path(locate(str(file.relative_to(ROOT))))["get_config"]
        found |= set(_paths(get_config().to_dict()))
        for variant in ("paper", "imagenet", "mae"):
            with contextlib.suppress(JaxpartError):  # it has no such variant
                found |= set(_paths(get_config(variant).to_dict()))
    return found


def _paths(tree, prefix="config"):
    for name, branch in tree.items():
        yield f"{prefix}.{name}"
        if isinstance(branch, dict):
            yield from _paths(branch, f"{prefix}.{name}")


def test_a_wrong_command_would_be_found(parse, fields, options):
    for module, *wrong in (
        ("jaxpart.main", "--config", "configs/ibot_part.py", "--config.retrieval.nothing=1"),
        ("jaxpart.main", "--config", "configs/ibot_part.py:papers"),
        ("jaxpart.main", "--config", "configs/ibot_part.py", "--config.seeds=many"),
        ("jaxpart.main", "--config", "configs/ibot_part.py", "--work=x"),
        ("convert", "ibot", "A", "B", "--layouts", "timm"),
        ("convert", "ibot", "A", "B", "--layout", "keras"),
        ("jaxpart.verify", "encoders", "A", "B"),
        ("jaxpart.nothing", "A"),
    ):
        with pytest.raises((AssertionError, AttributeError, TypeError, flags.Error, JaxpartError)):
            parse(module, wrong)
    assert "config.retrieval.exclude_self" in fields
    assert "config.retrieval.exclude" not in fields
    assert "--layout" in options
    assert "--layouts" not in options


@pytest.mark.parametrize("page", ALL, ids=names)
def test_every_command_is_read(page, parse, options):
    """As it would read itself, up to the point where it would begin."""
    for block in blocks(page):
        assert block.language in ("bash", "python", "text", ""), block
        if block.language == "python":
            ast.parse(block.text)
        if block.language == "bash":
            for module, arguments in commands(block.text):
                if module not in OTHERS and "mine.py" not in arguments:  # a page writes it
                    parse(module, arguments)
                    _check_options(arguments, options)


@pytest.mark.parametrize("page", ALL, ids=names)
def test_what_sentences_name_is_there(page, parse, options, fields):
    for span in spans(page):
        for module, arguments in commands(span):
            if module not in OTHERS:
                _check_options(arguments, options)
            assert importlib.util.find_spec(module.removesuffix(".NAME")), span
        if span.startswith("--config."):
            assert span.partition("=")[0].removeprefix("--") in fields, f"{page}: {span}"
        elif span.startswith("--"):
            for option in re.findall(r"(?<!\S)--[a-z][\w-]*", span):
                assert option in options, f"{page}: {span}"
        if re.fullmatch(r"(jaxpart|convert)(\.\w+)+(\(\))?", span):
            _resolve(span.removesuffix("()"))
    for path in paths(spans(page)):
        assert (ROOT / path).exists() or path in TO_BE_WRITTEN, f"{page}: {path}"


def _check_options(arguments, options):
    named = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    assert {name for name in named if not name.startswith("--config.")} <= options


def _resolve(name):
    module, tail = name, []
    while not _is_module(module):
        module, _, last = module.rpartition(".")
        tail.insert(0, last)
    found = importlib.import_module(module)
    for attribute in tail:
        found = getattr(found, attribute)


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize(
    "page", [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=names
)
def test_links_lead_somewhere(page):
    """Those within the project; the pages of docs/ are Sphinx's, which is strict."""
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s#]+)", text):
        assert "://" in link or (ROOT / link).exists(), f"{page}: {link}"

"""Runs every block of every page of the documentation, in order, in a fresh folder for each page.

Not part of the suite, for it takes minutes: `python -m pytest tests/docs/run_pages.py`. A block whose
first line says `# needs …` is not run (`test_pages.py` reads it). Of a block of text, each line has to be
in what the block before it printed; `…` stands for anything.
"""

import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from pages import PAGES, README, ROOT, blocks

from jaxpart.encoders.loading import write_encoder
from jaxpart.encoders.small import small_config
from jaxpart.encoders.weights import arrays_of

ELSEWHERE = {"extending.md": "tests/convert/test_extending.py"}
"""Pages whose blocks another test runs."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A fresh folder that commands and Python run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def environment():
    """A user's: `python` is this one, one device, a wide terminal; compiled fast, not to run fast."""
    mine = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    path = [str(pathlib.Path(sys.executable).parent), mine["PATH"]]
    mine |= {"PATH": os.pathsep.join(path), "PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    return mine | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


def run_bash(block):
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, (
        f"{block}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done.stdout + done.stderr


def run_python(block, defined):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.text, str(block), "exec"), defined)
    return printed.getvalue()


def check_text(block, printed):
    for line in filter(str.strip, block.text.splitlines()):
        pieces = [r"\s+".join(map(re.escape, piece.split())) for piece in line.split("…")]
        assert re.search(".*".join(pieces), printed), f"{block}: not printed: {line}\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs(page, place):
    if page.name in ELSEWHERE:
        assert page.name in (ROOT / ELSEWHERE[page.name]).read_text(encoding="utf-8")
        return
    defined, printed = {"__name__": "__main__"}, ""
    for block in blocks(page):
        if block.needs:
            printed = ""
        elif block.language == "bash":
            printed = run_bash(block)
        elif block.language == "python":
            printed = run_python(block, defined)
        elif block.language == "text":
            check_text(block, printed)


def test_the_readmes_python(place):
    """On what it takes for granted: a converted encoder, and labelled pixels."""

    from jaxpart.encoders.loading import random_encoder

    config = small_config("ibot")
    encoder = random_encoder("ibot", config)
    arrays = arrays_of(encoder.vit)
    (place / "encoders/ibot").mkdir(parents=True)
    folder = place / "encoders/ibot"
    write_encoder(folder, "ibot", config, encoder.preprocessing, arrays, {})
    images = np.random.default_rng(0).integers(0, 256, (4, *config.image_size, 3), np.uint8)
    defined = {"images": images, "parts": ["beak", "beak", "wing", "wing"]}
    for block in blocks(README):
        if block.language == "python":
            run_python(block, defined)

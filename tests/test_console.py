"""The one command `jaxpart`, and what --help says of a configuration."""

import pathlib
import re
import runpy
import subprocess
import sys

import pytest

import jaxpart
from jaxpart import console
from jaxpart.config import bundled
from jaxpart.runs.config_fields import FIELDS
from jaxpart.runs.config_rules import fields_of

ROOT = pathlib.Path(__file__).parent.parent


def told(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["jaxpart", *arguments])
    monkeypatch.setattr(console.terminal, "begin", lambda module: None)
    status = console.main()
    out = capsys.readouterr()
    return status, out.out + out.err


def test_version_help_and_completion(monkeypatch, capsys):
    assert told(monkeypatch, capsys, "--version") == (0, f"jaxpart {jaxpart.__version__}\n")
    status, text = told(monkeypatch, capsys)
    assert status == 0
    assert all(re.search(rf"^  {name} +\w", text, re.M) for name in console.COMMANDS)
    for shell in ("bash", "zsh", "fish"):
        status, text = told(monkeypatch, capsys, "completion", shell)
        assert status == 0
        assert "convert verify report" in text
    assert told(monkeypatch, capsys, "completion")[0] == 2
    status, text = told(monkeypatch, capsys, "repotr")
    assert (status, text.count("\n")) == (2, 1)
    assert "no command 'repotr'" in text


def test_bash_completes_commands():
    script = "COMP_WORDS=(jaxpart rep); COMP_CWORD=1; _jaxpart; echo ${COMPREPLY[@]}"
    made = console._BASH.replace("NAMES", " ".join(console.COMMANDS))
    done = subprocess.run(["bash", "-c", f"{made}\n{script}"], capture_output=True, text=True)
    assert done.stdout == "report\n"


@pytest.mark.slow
def test_a_command_is_its_module_with_its_exit_status(tmp_path):
    command = [
        sys.executable,
        "-c",
        "import sys; from jaxpart.console import main; sys.exit(main())",
    ]
    wrong = ["run", "--config", "configs/ibot_part.py", "--config.seed=-1"]
    done = subprocess.run([*command, *wrong], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: config.seed is -1; give a whole number")
    shown = ["run", "--config", "configs/ibot_part.py", "--help"]
    done = subprocess.run([*command, *shown], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert "--config.retrieval.exclude_self=False\n      exclude a query" in done.stdout
    assert "--dry-run" in done.stdout
    shown = ["pretrain", "--config", "configs/pretrain/ibot.py", "--help"]
    done = subprocess.run([*command, *shown], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert "hide blocks of patches, or random patches; choose from block, random" in done.stdout
    assert "--dry-run" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_no_field_is_gone():
    fields = set()
    for name in bundled():
        fields |= {path for path, _ in fields_of(runpy.run_path(str(ROOT / name))["get_config"]())}
    of_all_heads = re.compile(r"(object_)?classification\..*")
    assert [p for p in FIELDS if p not in fields and not of_all_heads.fullmatch(p)] == []

"""Pipes that close, full disks, terminals that know ASCII alone, and Ctrl-C: a line, never a trace."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from jaxpart.runs.table import Section, sections_text

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = ["jaxpart.data", "list"]


def start(module, *arguments, cwd=None, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=cwd, env=environment, text=True, **options
    )


def test_a_pipe_that_closes():
    process = start(*LIST)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk():
    with open("/dev/full", "w") as full:
        _, said = start(*LIST, stdout=full).communicate()
    assert said == "error: the output cannot be written (No space left on device)\n"


@pytest.mark.slow
def test_letters_that_a_terminal_does_not_know():
    process = start("convert", "--list", env={"PYTHONIOENCODING": "ascii"})
    shown, said = process.communicate()
    assert (process.returncode, said) == (0, "")
    assert "?" in shown


@pytest.mark.parametrize("columns", [40, 80])
def test_tables_are_as_wide_as_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    section = Section(
        ("retrieval", "AP", "of each part"), [("embedding", "12.3", "beak 1.0, " * 30)]
    )
    lines = sections_text("ibot", [section]).splitlines()
    assert columns - 10 <= max(map(len, lines)) <= columns


BEGINS = """
import sys
from jaxpart import terminal
terminal.begin("__main__")
print("begun", flush=True)
from jaxpart import main
sys.exit(main.entry())
"""
"""As `python -m jaxpart.main`, but it says when it has begun: machines differ in how long Python takes."""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_ctrl_c_ends_a_command_with_a_line(seconds, tmp_path):
    arguments = ["--config", "configs/ibot_part.py", "--config.features.cache=off"]
    process = subprocess.Popen(
        [sys.executable, "-c", BEGINS, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("stopped; run the same command again to resume")
    assert "Traceback" not in said


IN_A_CALLBACK = """
import os, signal, sys
from jaxpart import terminal

terminal.begin("__main__")
terminal._SECONDS_TO_CLEAN_UP = 0.1  # it would have 5 to clean up in


class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)  # raises where Python only prints


@terminal.entry_point
def main():
    Dying()
    while True:
        pass


sys.exit(main())
"""


def test_ctrl_c_in_a_callback_prints_no_trace():
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CALLBACK], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 130
    assert done.stderr == "stopped; run the same command again to resume\n"


SWALLOWS = """
import os, signal, sys
from jaxpart import terminal

terminal.begin("__main__")


@terminal.entry_point
def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("Invalid affine transformation matrix") from None  # as matplotlib does


sys.exit(main())
"""


def test_ctrl_c_that_comes_out_as_another_error():
    line = [sys.executable, "-c", SWALLOWS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "stopped; run the same command again to resume\n"

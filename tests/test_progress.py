"""Progress: bars on a terminal, a line a minute elsewhere."""

import io

import pytest
import rich.console

from jaxpart.runs.progress import Progress


def shown(monkeypatch, *, terminal, main=True):
    screen = io.StringIO()
    console = rich.console.Console

    def made(**options):
        del options["stderr"]
        return console(file=screen, force_terminal=terminal, width=100, **options)

    monkeypatch.setattr(rich.console, "Console", made)
    progress = Progress(shown=main)
    progress.say("a [bold] line")
    with progress.bar("encoding [x]", 40) as advance:
        for _ in range(4):
            advance(10)
    with progress.bar("waiting", None):
        pass
    return screen.getvalue()


def test_a_terminal_shows_rate_and_time(monkeypatch):
    text = shown(monkeypatch, terminal=True)
    assert "encoding [x]" in text
    assert "40/40" in text
    assert "/s" in text
    assert "0:00:00" in text.split("waiting")[1]
    assert "a [bold] line" in text


@pytest.mark.parametrize(
    ("terminal", "main", "said"), [(False, True, "a [bold] line\n"), (True, False, "")]
)
def test_elsewhere_there_are_no_bars(monkeypatch, terminal, main, said):
    assert shown(monkeypatch, terminal=terminal, main=main) == said


def test_without_a_terminal_a_line_a_minute_has_count_and_time_left(capsys):
    now = 0.0
    progress = Progress(clock=lambda: now)
    with progress.bar("encoding [x]", 10_000) as advance, progress.bar("opening", None) as opening:
        for _ in range(10):
            now += 30
            opening(1)
            advance(1_000)
    assert capsys.readouterr().err.splitlines() == [
        "encoding [x]: 2,000 of 10,000, about 4 minutes left",
        "encoding [x]: 4,000 of 10,000, about 3 minutes left",
        "encoding [x]: 6,000 of 10,000, about 2 minutes left",
        "encoding [x]: 8,000 of 10,000, about 60 seconds left",
    ]


def test_time_left_follows_the_last_minute_and_other_processes_are_silent(capsys):
    now = 0.0
    progress, silent = Progress(clock=lambda: now), Progress(shown=False, clock=lambda: now)
    with progress.bar("epochs", 90) as advance, silent.bar("epochs", 90) as beside:
        for count, seconds in ((80, 60), (1, 600)):  # a resumed run begins with what it did before
            now += seconds
            advance(count)
            beside(count)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "epochs: 81 of 90, about 90 minutes left",
    ]

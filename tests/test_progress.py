"""Progress: bars on a terminal, silence elsewhere."""

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
def test_elsewhere_bars_are_silent(monkeypatch, terminal, main, said):
    assert shown(monkeypatch, terminal=terminal, main=main) == said

import io
import sys
from types import SimpleNamespace

import pytest

from amtcli.cli.progress import CHATTY, NORMAL, QUIET, VERBOSE, Screen


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def open_terminal(monkeypatch):
    """Put a terminal in the place of standard error; called in the test, where capture is on."""
    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def open_():
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return open_


def progress(key, done_s, total_s):
    return SimpleNamespace(recording=SimpleNamespace(key=key), done_s=done_s, total_s=total_s)


def play(screen):
    with screen:
        screen.status("loading model")
        screen.download("weights", 5_000_000, 10_000_000)
        screen.start_clock()
        screen.advance(progress("[red]one[/red].wav", 30.0, 60.0))
        screen.advance(progress("two.wav", 5.0, None))
        screen._bars and screen._bars.refresh()
        screen.settle("[red]one[/red].wav")
        screen.advance(progress("two.wav", 6.0, None))
        screen._bars and screen._bars.refresh()
        screen.say("a message")


def test_bars_show_the_batch_and_the_oldest_recording(open_terminal):
    terminal = open_terminal()
    play(Screen(NORMAL, 2))
    shown = terminal.getvalue()
    assert "0 of 2" in shown
    assert "1 of 2" in shown
    assert "[red]one[/red].wav" in shown
    assert "30 of 60 s, " in shown
    assert "x real time" in shown
    assert shown.index("30 of 60 s") < shown.index("6 s, ")
    assert "a message\n" in shown


def test_single_recording_has_no_batch_bar(open_terminal):
    terminal = open_terminal()
    with Screen(NORMAL, 1) as screen:
        screen.advance(progress("one.wav", 1.0, 2.0))
        screen._bars.refresh()
    assert "of 1" not in terminal.getvalue()


def test_bars_leave_results_on_the_same_terminal_alone(open_terminal, monkeypatch):
    terminal = open_terminal()
    assert Screen(NORMAL, 1, writes_stdout=True).animated
    monkeypatch.setattr(sys, "stdout", terminal)
    assert not Screen(NORMAL, 1, writes_stdout=True).animated
    assert Screen(NORMAL, 1).animated


@pytest.mark.parametrize("cause", ["dumb terminal", "quiet", "no terminal"])
def test_no_bars_where_nobody_could_see_them(open_terminal, monkeypatch, cause):
    terminal = open_terminal()
    if cause == "dumb terminal":
        monkeypatch.setenv("TERM", "dumb")
    if cause == "no terminal":
        monkeypatch.setattr(terminal, "isatty", lambda: False)
        monkeypatch.setenv("FORCE_COLOR", "1")
    play(Screen(QUIET if cause == "quiet" else NORMAL, 2))
    expected = "" if cause == "quiet" else "amt: fetching weights\na message\n"
    assert terminal.getvalue() == expected


def test_download_without_bars_is_announced_once(open_terminal, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setenv("TERM", "dumb")
    with Screen(NORMAL, 1) as screen:
        for done in (0, 1, 2):
            screen.download("weights", done, 2)
    assert terminal.getvalue() == "amt: fetching weights\n"


@pytest.mark.parametrize(
    ("verbosity", "said"),
    [(QUIET, "e"), (NORMAL, "en"), (VERBOSE, "env"), (CHATTY, "envc")],
)
def test_verbosity_chooses_what_is_said(open_terminal, monkeypatch, verbosity, said):
    terminal = open_terminal()
    monkeypatch.setattr(terminal, "isatty", lambda: False)
    screen = Screen(verbosity, 1)
    screen.error("e")
    screen.say("n")
    screen.say("v", level=VERBOSE)
    screen.say("c", level=CHATTY)
    assert terminal.getvalue().replace("\n", "") == said


def test_no_color_is_honoured(open_terminal, monkeypatch):
    terminal = open_terminal()
    with Screen(NORMAL, 1) as screen:
        screen.error("red")
    assert "\x1b[31mred" in terminal.getvalue()
    terminal.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")
    with Screen(NORMAL, 1) as screen:
        screen.error("plain")
    assert "\x1b[31m" not in terminal.getvalue()
    assert "plain" in terminal.getvalue()

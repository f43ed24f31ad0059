import pytest

from amtcli.cli import work_bar
from amtcli.cli.work_bar import WorkBar, in_words


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_s = 100.0

        def monotonic(self):
            return self.now_s

    clock = Clock()
    monkeypatch.setattr(work_bar, "time", clock)
    return clock


def test_time_left_follows_from_the_audio_that_is_left(clock):
    with WorkBar("packing", 3, 400.0, quiet=True) as bar:
        assert bar.text() == "0 of 3 recordings"
        bar.advance(0.0)  # one that was there
        clock.now_s += 20
        bar.advance(100.0)
        assert bar.text() == "2 of 3 recordings, 60 s left"
        bar.advance(300.0)
        assert bar.text() == "3 of 3 recordings"


def test_a_line_comes_every_half_minute(clock, capsys):
    with WorkBar("packing", 100, 1000.0) as bar:
        for _ in range(40):
            clock.now_s += 4
            bar.advance(10.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "amt: packing: 8 of 100 recordings, 6 min left"
    assert len(lines) == 5


def test_quiet_is_quiet(clock, capsys):
    with WorkBar("packing", 2, 10.0, quiet=True) as bar:
        clock.now_s += 100
        bar.advance(5.0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(3.4, "3 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (9000, "2.5 h")],
)
def test_durations_in_words(duration_s, text):
    assert in_words(duration_s) == text

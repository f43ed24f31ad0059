import io
import os
import sys

import pytest

from amtcli.cli.streams import check_stdin, is_terminal, printable, say, write_stdout
from amtcli.errors import AmtError, UsageError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("絆 \N{MUSICAL KEYBOARD} é.wav", "絆 \N{MUSICAL KEYBOARD} é.wav"),
        ("a\x1b[31m\r\n\x07\x85", "a\\x1b[31m\\r\\n\\x07\\x85"),
        ("a\u2028b", "a\\u2028b"),
        (os.fsdecode(b"caf\xe9") if sys.platform == "linux" else "caf\udce9", "caf\\udce9"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_printable_may_keep_line_ends():
    assert printable("a\n\tb", keep_newlines=True) == "a\n\\tb"


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [None, Broken()])
def test_message_that_nobody_can_read_is_dropped(monkeypatch, capfd, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    say("lost")
    assert capfd.readouterr() == ("", "")


def test_closed_and_missing_streams_are_no_terminals():
    closed = io.StringIO()
    closed.close()
    assert [is_terminal(stream) for stream in (None, closed, io.StringIO())] == [False] * 3


def test_nobody_is_waited_for_at_a_terminal(monkeypatch):
    class Keyboard(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Keyboard())
    with pytest.raises(UsageError, match="standard input is a terminal"):
        check_stdin()


def test_result_that_cannot_be_written_is_an_error_but_for_a_reader_that_left(monkeypatch):
    class Failing(io.RawIOBase):
        error = OSError(28, "No space left on device")

        def writable(self):
            return True

        def write(self, data):
            raise self.error

    raw = Failing()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw)))
    with pytest.raises(AmtError, match="standard output cannot be written: No space left"):
        write_stdout(b"x")
    Failing.error = BrokenPipeError()
    with pytest.raises(BrokenPipeError):
        write_stdout(b"x")
    Failing.write = lambda self, data: len(data)  # lets the buffer be closed

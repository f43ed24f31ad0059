"""The three standard streams: closed ones, odd encodings, broken pipes, and printing safely."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress

from amtcli.errors import AmtError, UsageError

_TSV_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_ESCAPED = frozenset({"Cc", "Cs", "Zl", "Zp"})


def prepare_streams() -> None:
    """Make the standard streams safe to use, whatever the caller did to them.

    Closed ones lead to the null device, or the next file to be opened would take their number
    and receive what libraries print. What an encoding cannot express is escaped, but bytes of
    file names pass unchanged through a UTF-8 standard output.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            exact = stream is sys.stdout and stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if exact else "backslashreplace")


def is_terminal(stream: object) -> bool:
    """Whether a person sees ``stream``; a closed or missing stream is no terminal."""
    with suppress(AttributeError, ValueError):
        return bool(stream.isatty())  # type: ignore[attr-defined]
    return False


def printable(text: str, *, keep_newlines: bool = False) -> str:
    """Escape what a terminal would obey or cannot show: control codes, undecodable bytes."""
    return "".join(
        char.encode("unicode_escape", "surrogatepass").decode("ascii")
        if unicodedata.category(char) in _ESCAPED and not (char == "\n" and keep_newlines)
        else char
        for char in text
    )


def say(text: str, style: str = "") -> None:
    """Write one message to standard error, with colour where a person is watching."""
    text = printable(text, keep_newlines=True)
    # A standard error that is closed or full must not stop the work, nor hide its exit code.
    with suppress(OSError, ValueError, AttributeError):
        if style and is_terminal(sys.stderr):
            from rich.console import Console
            from rich.text import Text

            Console(stderr=True).print(Text(text, style), soft_wrap=True)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def check_stdin() -> None:
    """Refuse to read from a standard input that is closed, or to wait for somebody to type."""
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("standard input is closed")
    if is_terminal(sys.stdin):
        raise UsageError("standard input is a terminal: send something into it, or name a file")


def read_stdin() -> bytes:
    """Read all of standard input."""
    check_stdin()
    return sys.stdin.buffer.read()


def check_stdout() -> None:
    """Refuse to write a result to a standard output that is closed."""
    if sys.stdout is None or sys.stdout.closed:
        raise UsageError("standard output is closed; name a file with -o")


def write_stdout(data: bytes) -> None:
    """Write a result to standard output.

    Raises `BrokenPipeError` when the reader has gone, which is no mistake, and `AmtError` when
    the system refuses for another reason.
    """
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise AmtError(f"standard output cannot be written: {error.strerror}") from error


def print_rows(rows: Iterable[Sequence[str]], shown: str) -> None:
    """Print rows to standard output: for a person as the format ``shown`` says, else as TSV.

    There a backslash, a tab or an end of line within a cell is escaped by a backslash.
    """
    check_stdout()
    person = is_terminal(sys.stdout)
    lines = [
        shown.format(*map(printable, row))
        if person
        else "\t".join(cell.translate(_TSV_ESCAPES) for cell in row)
        for row in rows
    ]
    text = "".join(f"{line}\n" for line in lines)
    write_stdout(text.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))


def abandon_stdout() -> None:
    """Drop what is left in standard output's buffer, so that leaving does not fail on it."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)

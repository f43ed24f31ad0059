"""The command line: one file per command; here errors become exit codes, and nowhere else."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from contextlib import suppress
from functools import partial
from types import FrameType, TracebackType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from amtcli import __version__
from amtcli.cli import doctor, evaluate, models, pack, refine_velocity, train, transcribe
from amtcli.cli.streams import abandon_stdout, prepare_streams, printable, say
from amtcli.errors import AmtError, UsageError

_IS_EMPTY = "amtcli.is_empty"
_NAMES_NOTHING = re.compile("--[a-z-]+=")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_INTERRUPTED = 130
_READER_GONE = 141  # what a shell reports for a program that dies of SIGPIPE
_ENDED = {129: "SIGHUP", 143: "SIGTERM"}


class _Commands(TyperGroup):
    """The commands, with each way of ending early turned into its message and exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # As a path, nothing would be the current folder: all of it read, or written into.
        ctx.meta[_IS_EMPTY] = any(not arg or _NAMES_NOTHING.fullmatch(arg) for arg in args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            if ctx.meta[_IS_EMPTY]:
                raise UsageError("an argument is empty: is a variable not set?")
            return super().invoke(ctx)
        except AmtError as error:
            say(f"amt: error: {error}", "red")
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError as error:
            abandon_stdout()
            raise typer.Exit(_READER_GONE) from error
        except OSError as error:
            if error.filename is None:
                raise
            # A folder that may not be entered, a name that is too long: the user's to mend.
            say(f"amt: error: {printable(os.fsdecode(error.filename))}: {error.strerror}", "red")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            say("amt: interrupted")
            raise typer.Exit(_INTERRUPTED) from error


app = typer.Typer(
    name="amt",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(transcribe.transcribe)
app.command("refine-velocity")(refine_velocity.refine_velocity)
app.command()(evaluate.evaluate)
app.add_typer(models.app, name="models")
app.add_typer(pack.app, name="pack")
app.command()(train.train)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"amt {__version__}")
        raise typer.Exit


@app.callback()
def _amt(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Piano recordings to MIDI.

    amt transcribe song.wav                   writes song.mid beside it
    amt transcribe album/ -r -o midi/         a tree of folders
    cat song.mp3 | amt transcribe - > song.mid
    amt refine-velocity score.mid song.wav    writes the recording's dynamics into the score
    amt evaluate references/ estimates/       how good is it?
    amt doctor                                what is installed, what can be read

    amt COMMAND --help explains a command, its options and its exit codes.
    """


def _report_bug(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sys.__excepthook__(kind, error, trace)
    say("amt: this is a bug in amt; please report it with the lines above and `amt doctor --json`")


def main() -> None:
    """Run the command line and leave with its exit code."""
    prepare_streams()
    _end_in_order()
    try:
        app(prog_name="amt")
    except OSError as error:
        if error.errno not in _FULL:
            sys.excepthook = _report_bug
            raise
        abandon_stdout()
        say(f"amt: error: standard output or a file cannot be written: {error.strerror}", "red")
        sys.exit(1)
    except Exception:  # a bug: the traceback is shown, and what to do with it
        sys.excepthook = _report_bug
        raise
    except SystemExit as end:
        if end.code in _ENDED:
            say(f"amt: ended by {_ENDED[end.code]}")
        if end.code in (_INTERRUPTED, *_ENDED) or any(
            thread.daemon for thread in threading.enumerate()
        ):
            # All that must be undone is undone; a thread that waits for audio which never comes
            # would keep the interpreter from ending, or crash it.
            _end_at_once(end.code)
        raise


def _end_in_order() -> None:
    """Let what ends a program end it as Ctrl-C does, so that nothing half done is left behind."""
    for exit_code, name in _ENDED.items():
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, partial(_end, exit_code))


def _end(exit_code: int, number: int, _: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # the second one is not to be waited for
    raise SystemExit(exit_code)


def _end_at_once(code: str | int | None) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))

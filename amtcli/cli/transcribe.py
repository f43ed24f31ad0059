"""``amt transcribe``: options in, a plan carried out, one summary line and an exit code."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from amtcli.cli.engines import EngineChoice, Precision, open_engine
from amtcli.cli.live import LiveOptions, check_flags, transcribe_live
from amtcli.cli.options import (
    ENGINE,
    IN_OUT,
    REPORT,
    Arithmetic,
    BatchSize,
    Beats,
    Device,
    DryRun,
    Fast,
    Offline,
    Quiet,
    check_device,
    given,
    parse_batch_size,
)
from amtcli.cli.progress import QUIET, Screen
from amtcli.cli.streams import (
    check_stdin,
    check_stdout,
    is_terminal,
    print_rows,
    read_stdin,
)
from amtcli.errors import UsageError
from amtcli.files import is_folder, is_special, open_in_place

if TYPE_CHECKING:
    from amtcli.formats import FormatOptions
    from amtcli.outputs import Existing, OutputOptions
    from amtcli.plan import Plan

_MUSICAL, _LIVE = "Musical", "Live"


class Pedal(str, Enum):
    """What becomes of the sustain pedal in MIDI files."""

    CC64 = "cc64"
    EXTEND = "extend"
    NONE = "none"


class RawFormat(str, Enum):
    """Samples without a header, little-endian and mono."""

    INT16 = "int16"
    FLOAT32 = "float32"


def transcribe(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Files, folders, globs, @LIST (a file with one path per line; @- reads the list "
            "from standard input), or - for audio on standard input.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="OUT",
            help="A file, a folder, or - for standard output. Without it: STEM.mid beside each "
            "recording; from standard input, on to a pipe.",
            show_default=False,
            rich_help_panel=IN_OUT,
        ),
    ] = None,
    recursive: Annotated[
        bool,
        typer.Option(
            "-r",
            "--recursive",
            help="Search folders in folders, and keep the folders of the inputs below OUT.",
            rich_help_panel=IN_OUT,
        ),
    ] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="LIST",
            help="mid, json, csv, jsonl; several with commas. Without it: what the suffix of OUT "
            "says, else mid.",
            show_default=False,
            rich_help_panel=IN_OUT,
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave recordings alone whose outputs are all there.",
            rich_help_panel=IN_OUT,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace outputs. Without either flag, outputs that exist are refused.",
            rich_help_panel=IN_OUT,
        ),
    ] = False,
    stdin_name: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What to call the recording on standard input.",
            rich_help_panel=IN_OUT,
        ),
    ] = "stdin",
    dry_run: DryRun = False,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A model's name (amt models list) or folder. Without it: transkun-v2 if it has "
            "been pulled, else swift; with --live swift-live.",
            show_default=False,
            rich_help_panel=ENGINE,
        ),
    ] = "",
    offline: Offline = False,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    precision: Arithmetic = Precision.AUTO,
    fast: Fast = False,
    tempo: Annotated[
        float,
        typer.Option(
            metavar="BPM",
            help="Tempo that MIDI files state; no note moves.",
            rich_help_panel=_MUSICAL,
        ),
    ] = 120.0,
    pedal: Annotated[
        Pedal,
        typer.Option(
            help="Pedals in MIDI files: as controllers, as longer notes, or not at all.",
            rich_help_panel=_MUSICAL,
        ),
    ] = Pedal.CC64,
    refine_velocity: Annotated[
        bool,
        typer.Option(
            "--refine-velocity",
            help="Read the velocities once more, with a model that is told the notes.",
            rich_help_panel=_MUSICAL,
        ),
    ] = False,
    beats: Beats = "",
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Transcribe audio on standard input (wav, or --raw-rate) as it comes, with a "
            "model that looks little ahead.",
            rich_help_panel=_LIVE,
        ),
    ] = False,
    raw_rate: Annotated[
        int | None,
        typer.Option(
            min=1000,
            max=768_000,
            metavar="HZ",
            help="Standard input has no header: mono samples at this rate.",
            show_default=False,
            rich_help_panel=_LIVE,
        ),
    ] = None,
    raw_format: Annotated[
        RawFormat,
        typer.Option(help="Type of such samples, little-endian.", rich_help_panel=_LIVE),
    ] = RawFormat.INT16,
    microphone: Annotated[
        bool,
        typer.Option(
            "--microphone",
            help="Listen to the default microphone instead of standard input.",
            rich_help_panel=_LIVE,
        ),
    ] = False,
    report: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write one JSON record per recording: outputs, errors, timings (- for standard "
            "output).",
            show_default=False,
            rich_help_panel=REPORT,
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            metavar="",
            help="One line per recording; -vv adds where the time went.",
            show_default=False,
            rich_help_panel=REPORT,
        ),
    ] = 0,
) -> None:
    """Transcribe piano recordings to MIDI.

    amt transcribe song.wav                  writes song.mid beside it
    amt transcribe album/ -r -o midi/        a tree; with --skip-existing it goes on
    amt transcribe song.flac -o song.json    notes and pedals as JSON
    cat song.mp3 | amt transcribe - -o - > song.mid
    find . -name '*.flac' | amt transcribe @- -r -o midi/
    arecord -t wav -f S16 -r 16000 | amt transcribe - --live

    With --live, each note gives two lines of JSON on standard output, at once: one of type note_on
    when it is decided that it has begun, and the line of type note that --format jsonl has when
    its key is up (sounding_end_s is the key-up, too: how long a pedal holds it is not known yet).
    A press of a pedal gives its line of type pedal when it is over.

    Exit codes:
    0    all recordings are done, or were skipped
    1    some recording failed; the others are done
    2    wrong usage, outputs that exist among it; nothing was done
    3    the model is missing or damaged
    4    no input was found
    130  interrupted
    141  the reader of standard output went away
    """
    from amtcli.formats import FormatOptions
    from amtcli.inputs import find_inputs
    from amtcli.outputs import OutputOptions, parse_formats, stdout_as_dash
    from amtcli.plan import make_plan

    if _is_live(ctx):
        transcribe_live(
            LiveOptions(
                inputs=inputs or [],
                model=model,
                offline=offline,
                raw_rate_hz=raw_rate,
                raw_format=raw_format.value,
                microphone=microphone,
                stdin_name=stdin_name,
                quiet=quiet,
            )
        )
        return
    if not inputs:
        raise UsageError("name an INPUT: files, folders, or - for standard input")
    choice = EngineChoice(
        model,
        check_device(device),
        parse_batch_size(batch_size),
        precision.value,
        fast,
        offline,
        refine_velocity,
        beats,
    )
    if beats and "tempo" in given(ctx):
        raise UsageError("--tempo and --beats contradict each other: beats make the tempo")
    format_options = FormatOptions(tempo, pedal.value)
    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other")
    options = OutputOptions(
        out=out,
        formats=parse_formats(formats or ()),
        mirror=recursive,
        existing=_existing(skip_existing, overwrite),
        report=stdout_as_dash(report),
        stdout_is_terminal=is_terminal(sys.stdout),
    )
    found = find_inputs(inputs, recursive=recursive, stdin_name=stdin_name, read_stdin=read_stdin)
    plan = make_plan(found, options)
    if dry_run:
        _print_plan(plan)
        return
    writes_stdout = plan.writes_stdout or options.report == "-"
    verbosity = QUIET if quiet else verbose
    screen = Screen(verbosity, len(plan.recordings), writes_stdout=writes_stdout)
    code = carry_out(plan, options, choice, format_options, screen)
    if code:
        raise typer.Exit(code)


def carry_out(
    plan: Plan,
    options: OutputOptions,
    choice: EngineChoice,
    format_options: FormatOptions,
    screen: Screen,
) -> int:
    """Do what the plan says and return the exit code."""
    from amtcli.cli.batch import Batch, summarise
    from amtcli.plan import Action

    if plan.writes_stdout:
        check_stdout()
    if any(planned.source is None and not planned.problem for planned in plan.recordings):
        check_stdin()
    with ExitStack() as stack:
        stack.enter_context(screen)
        recorded = _check_report(options.report)
        has_work = bool(plan.with_action(Action.TRANSCRIBE))
        opened = open_engine(choice, screen) if has_work else None
        report = _open_report(options.report, stack)  # which empties it: something will be done
        batch = Batch(plan, options.existing, screen, report, recorded)
        batch.settle_planned()
        engine_text = ""
        if opened is not None:
            engine, producer = opened
            screen.start_clock()
            batch.transcribe(engine, producer, format_options)
            engine_text = engine.description
        screen.say(summarise(batch.tally, plan, screen.elapsed_s, engine_text))
    return batch.tally.exit_code


def _is_live(ctx: typer.Context) -> bool:
    names = given(ctx)
    check_flags(names, live="live" in names)
    return "live" in names


def _check_report(report: str | None) -> dict[str, str]:
    """Look whether a report can be written; returns what an earlier run has put into it."""
    from amtcli.outputs import unwritable
    from amtcli.report import read_records

    if report is None or report == "-" or is_special(Path(report)):
        return {}
    folder = Path(report).parent
    if not is_folder(folder) or unwritable(folder):
        raise UsageError(f"--report {report} cannot be written: choose another folder")
    return read_records(Path(report))


def _open_report(report: str | None, stack: ExitStack) -> TextIO | None:
    if report is None:
        return None
    if report == "-":
        check_stdout()
        return sys.stdout
    try:
        file = open(  # noqa: SIM115 - Path.open takes no opener; closed by the stack
            report, "w", encoding="ascii", newline="\n", opener=open_in_place
        )
    except OSError as error:
        raise UsageError(f"--report {report} cannot be written: {error.strerror}") from error
    stack.callback(_close, file)
    return file


def _close(report: TextIO) -> None:
    with suppress(OSError):  # what could not be written has been told by then
        report.close()


def _existing(skip_existing: bool, overwrite: bool) -> Existing:
    from amtcli.outputs import Existing

    if skip_existing and overwrite:
        raise UsageError("--skip-existing and --overwrite contradict each other")
    if skip_existing:
        return Existing.SKIP
    return Existing.OVERWRITE if overwrite else Existing.REFUSE


def _print_plan(plan: Plan) -> None:
    rows = []
    for planned in plan.recordings:
        targets = [str(output.path or "-") for output in planned.outputs]
        rows += [
            (planned.action.value, planned.key, target)
            for target in targets or [planned.problem or ""]
        ]
    print_rows(rows, "{:10}  {} -> {}")

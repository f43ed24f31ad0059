"""``amt refine-velocity``: options in, velocities of scores read off recordings, an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amtcli.catalog import VELOCITY_MODEL
from amtcli.cli.engines import EngineChoice, Precision, open_reader
from amtcli.cli.options import (
    ENGINE,
    IN_OUT,
    REPORT,
    Arithmetic,
    BatchSize,
    Device,
    DryRun,
    Fast,
    Offline,
    Quiet,
    check_device,
    parse_batch_size,
)
from amtcli.cli.progress import QUIET, Screen
from amtcli.cli.refining import (
    Destination,
    Job,
    Refining,
    check_destination,
    make_job,
    print_job,
    read_match,
)
from amtcli.cli.streams import check_stdout
from amtcli.errors import UsageError

_TIME, _MUSICAL = "Where the score lies", "Musical"


def refine_velocity(
    score: Annotated[
        Path,
        typer.Argument(
            metavar="SCORE",
            help="A MIDI file (format 0 or 1), or a folder of them.",
            show_default=False,
        ),
    ],
    audio: Annotated[
        Path,
        typer.Argument(
            metavar="AUDIO",
            help="The recording of the score, or a folder with recordings of the same names.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="OUT",
            help="A file, a folder, or - for standard output. Without it: SCORE.refined.mid.",
            show_default=False,
            rich_help_panel=IN_OUT,
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave scores alone whose result is there.",
            rich_help_panel=IN_OUT,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace results. Without either flag, results that exist are refused.",
            rich_help_panel=IN_OUT,
        ),
    ] = False,
    dry_run: DryRun = False,
    align: Annotated[
        bool,
        typer.Option(
            "--align",
            help="Warp a score that was not played in time onto the recording before reading; "
            r"its own times stay. Needs librosa (pip install 'amtcli\[align]').",
            rich_help_panel=_TIME,
        ),
    ] = False,
    strength: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="How far to go from the score's velocities (0) to the recording's (1).",
            rich_help_panel=_MUSICAL,
        ),
    ] = 1.0,
    keep_accents: Annotated[
        bool,
        typer.Option(
            "--keep-accents",
            help="Take loudness from the recording, and from the score how each note stands out "
            "from those within a second or so.",
            rich_help_panel=_MUSICAL,
        ),
    ] = False,
    match: Annotated[
        str | None,
        typer.Option(
            metavar="REF.mid|CURVE",
            help="Map onto an instrument's response: distribute velocities like those of a MIDI "
            "file, or along a curve such as 20:30,64:64,110:100.",
            show_default=False,
            rich_help_panel=_MUSICAL,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write each note's old and new velocity to a .csv or .json file.",
            show_default=False,
            rich_help_panel=REPORT,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Draw velocities before and after (PNG and PDF).",
            show_default=False,
            rich_help_panel=REPORT,
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Annotated[
        bool,
        typer.Option("-v", "--verbose", help="One line per score.", rich_help_panel=REPORT),
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A velocity model's name (amt models list) or folder.",
            rich_help_panel=ENGINE,
        ),
    ] = VELOCITY_MODEL,
    offline: Offline = False,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    precision: Arithmetic = Precision.AUTO,
    fast: Fast = False,
) -> None:
    """Write the dynamics of a recording into its score.

    amt refine-velocity score.mid recording.flac          writes score.refined.mid
    amt refine-velocity scores/ recordings/ -o refined/   folders, paired by name
    amt refine-velocity score.mid recording.flac --align  a score that was not played in time
    amt refine-velocity score.mid recording.flac --strength 0.5 --report velocities.csv

    Velocities are all that changes: every other byte of the file stays as it is.

    Exit codes:
    0    all scores are done, or were skipped
    1    some score failed; the others are done
    2    wrong usage, results that exist among it; nothing was done
    3    the model is missing, damaged, or no velocity model
    4    no score was found, or none has a recording
    130  interrupted
    141  the reader of standard output went away
    """
    from amtcli.outputs import Existing
    from amtcli.refinement.mapping import VelocityMapping

    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other")
    if skip_existing and overwrite:
        raise UsageError("--skip-existing and --overwrite contradict each other")
    existing = Existing.OVERWRITE if overwrite else Existing.REFUSE
    destination = Destination(out, Existing.SKIP if skip_existing else existing, report, plot)
    check_destination(destination)
    if align:
        from amtcli.alignment import require_librosa

        require_librosa()
    mapping = VelocityMapping(strength, keep_accents, read_match(match))
    job = make_job(score, audio, destination)
    if dry_run:
        print_job(job)
        return
    choice = EngineChoice(
        model, check_device(device), parse_batch_size(batch_size), precision.value, fast, offline
    )
    n_scores = len(job.plan.recordings)
    verbosity = QUIET if quiet else int(verbose)
    with Screen(verbosity, n_scores, writes_stdout=job.plan.writes_stdout) as screen:
        run = Refining(job, destination, mapping, screen, warped=align)
        carry_out(run, job, choice, screen)
        if n_scores > 1:
            screen.say(run.summary())
    if run.n_failed or run.is_plot_missing:
        raise typer.Exit(1)


def carry_out(run: Refining, job: Job, choice: EngineChoice, screen: Screen) -> None:
    """Settle every score of the job; the model is looked for only where there is work for it."""
    from amtcli.plan import Action

    if job.plan.writes_stdout:
        check_stdout()
    run.settle_planned()
    if job.plan.with_action(Action.TRANSCRIBE):
        screen.status("loading model")
        reader, _ = open_reader(choice, screen)
        screen.start_clock()
        try:
            run.read(reader)
        finally:  # also where it is interrupted: what is written now is skipped next time
            run.write_report()
    else:
        run.write_report()

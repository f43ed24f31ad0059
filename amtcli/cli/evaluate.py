"""``amt evaluate``: options in, pairs scored, a table, files and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from amtcli.catalog import VELOCITY_MODEL
from amtcli.cli.engines import EngineChoice, Precision
from amtcli.cli.options import (
    ENGINE,
    REPORT,
    Arithmetic,
    BatchSize,
    Beats,
    Device,
    Fast,
    Offline,
    Quiet,
    check_device,
    given,
    parse_batch_size,
)
from amtcli.cli.progress import NORMAL, QUIET, Screen
from amtcli.cli.scoring import (
    Outputs,
    add_beats_to_files,
    check_outputs,
    compare_files,
    find_pairs,
    make_tasks,
    refuse_missing,
    refuse_overwriting,
    say_notices,
    score,
    write_result,
)
from amtcli.cli.streams import say
from amtcli.errors import UsageError
from amtcli.outputs import stdout_as_dash

_WHAT, _HOW = "What is compared", "Conventions"
_ALSO_COMPARED = {"compare", "json", "quiet"}


class Missing(str, Enum):
    """What a reference without an estimate means."""

    ZERO = "zero"
    ERROR = "error"
    IGNORE = "ignore"


class PedalExtension(str, Enum):
    """Whose notes are held to the release of the sustain pedal."""

    BOTH = "ref,est"
    REFERENCE = "ref"
    NONE = "none"


class PitchUnit(str, Enum):
    """In what pitches are handed to mir_eval."""

    HZ = "hz"
    MIDI = "midi"


class VelocityScale(str, Enum):
    """In what velocities are handed to mir_eval."""

    MIDI = "midi"
    UNIT = "unit"


def evaluate(
    ctx: typer.Context,
    reference: Annotated[
        Path | None,
        typer.Argument(
            metavar="REFERENCE",
            help="A file or a folder: .mid, .midi, .kar, .rmi, or .tsv with onset, offset, note "
            "and velocity.",
            show_default=False,
        ),
    ] = None,
    estimate: Annotated[
        Path | None,
        typer.Argument(
            metavar="ESTIMATE",
            help="The same, or audio to transcribe first. Without it, --model transcribes the "
            "audio beside REFERENCE.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="A B",
            help="Compare two results of --json piece by piece, with a significance test.",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    missing: Annotated[
        Missing,
        typer.Option(
            help="A reference without an estimate scores 0, is an error, or is left out.",
            rich_help_panel=_WHAT,
        ),
    ] = Missing.ZERO,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name and version of the data, for the report, such as 'MAESTRO v3.0.0 test'.",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    onset_tolerance: Annotated[
        list[float] | None,
        typer.Option(
            metavar="SECONDS",
            help="How far off an onset may be; repeat it for more columns. Without it: 0.05.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    offset_ratio: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="How far off an offset may be, as a share of the duration.",
            rich_help_panel=_HOW,
        ),
    ] = 0.2,
    offset_min: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="How far off an offset may always be.",
            rich_help_panel=_HOW,
        ),
    ] = 0.05,
    velocity_tolerance: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="How far off a velocity may be after a fitted line.",
            rich_help_panel=_HOW,
        ),
    ] = 0.1,
    velocity_scale: Annotated[
        VelocityScale,
        typer.Option(
            help="midi: a share of the range in the reference; unit: a share of 128, as the "
            "Onsets and Frames scripts have it.",
            rich_help_panel=_HOW,
        ),
    ] = VelocityScale.MIDI,
    pitch_unit: Annotated[
        PitchUnit,
        typer.Option(
            help="midi repeats a mistake of some published scripts, by which a semitone is a hit.",
            rich_help_panel=_HOW,
        ),
    ] = PitchUnit.HZ,
    pedal_extend: Annotated[
        PedalExtension,
        typer.Option(
            help="Whose notes the sustain pedal prolongs before they are compared.",
            rich_help_panel=_HOW,
        ),
    ] = PedalExtension.BOTH,
    pedal_threshold: Annotated[
        int,
        typer.Option(
            metavar="VALUE",
            help="The sustain pedal is down from this controller value on.",
            rich_help_panel=_HOW,
        ),
    ] = 64,
    grid: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Score the notes of a label roll with frames of this length, as Onsets and "
            "Frames does with 0.032. Without it: continuous times.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    frame_hop: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Frame of the frame scores; 0 weighs exact durations.",
            rich_help_panel=_HOW,
        ),
    ] = 0.01,
    velocity: Annotated[
        bool,
        typer.Option(
            "--velocity",
            help="The estimate holds the reference's own notes: velocity errors of all of them, "
            "beside those of the mean. From audio, a velocity model reads them.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    json: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write settings, versions, aggregate and per_file (- for standard output).",
            show_default=False,
            rich_help_panel=REPORT,
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write one row per piece.",
            show_default=False,
            rich_help_panel=REPORT,
        ),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Print one tab-separated row per piece instead of tables.",
            rich_help_panel=REPORT,
        ),
    ] = False,
    errors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a CSV of missed, extra, octave and doubled notes with their times.",
            show_default=False,
            rich_help_panel=REPORT,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Draw each piece: piano roll, velocities, deviations (PNG and PDF).",
            show_default=False,
            rich_help_panel=REPORT,
        ),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCORE=MIN",
            help="Exit with 1 if the mean of a score is below, such as onset_f1=0.95.",
            show_default=False,
            rich_help_panel=REPORT,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--jobs",
            min=1,
            metavar="N",
            help="Processes that score at once. Without it: one per core.",
            show_default=False,
            rich_help_panel=REPORT,
        ),
    ] = None,
    quiet: Quiet = False,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A model's name (amt models list) or folder. For audio without it: transkun-v2 if "
            "it has been pulled, else swift.",
            show_default=False,
            rich_help_panel=ENGINE,
        ),
    ] = None,
    beats: Beats = "",
    offline: Offline = False,
    device: Device = "auto",
    batch_size: BatchSize = "auto",
    precision: Arithmetic = Precision.AUTO,
    fast: Fast = False,
) -> None:
    """Score estimated performances against references, as mir_eval does.

    amt evaluate reference.mid estimate.mid
    amt evaluate references/ estimates/ --json result.json --errors errors.csv
    amt evaluate maps/test/ --model transkun-v2      transcribes the audio beside them
    amt evaluate refs/ ests/ --onset-tolerance 0.05 --onset-tolerance 0.1
    amt evaluate maps/test/ --velocity --model velocity-swift     velocities, the score given
    amt evaluate asap/ asap/ --beats metre           beats, found in given notes
    amt evaluate --compare before.json after.json    is it better?

    Exit codes:
    0  every piece is scored
    1  a file could not be read or transcribed, or a score is below --fail-under
    2  wrong usage
    3  the model is missing or damaged
    4  nothing matched
    """
    from amtcli.evaluation.conventions import Conventions
    from amtcli.evaluation.results import (
        make_document,
        parse_threshold,
        score_names,
        unmet_thresholds,
    )

    outputs = Outputs(stdout_as_dash(json), csv, plain, errors, plot)
    if compare is not None:
        if reference is not None:
            raise UsageError("--compare takes two results and nothing else to score")
        if fail_under or replace(outputs, json=None) != Outputs():
            raise UsageError("--compare writes nothing but --json, and fails under no score")
        if others := given(ctx) - _ALSO_COMPARED:
            flag = min(others).replace("_", "-")
            raise UsageError(f"--compare takes two results as they are, and no --{flag}")
        check_outputs(outputs)
        refuse_overwriting(outputs, compare)
        compare_files(*compare, outputs)
        return
    if reference is None:
        raise UsageError("name a REFERENCE, and an ESTIMATE or --model; see amt evaluate --help")
    conventions = Conventions(
        onset_tolerances_s=_tolerances_s(onset_tolerance),
        offset_ratio=offset_ratio,
        offset_min_s=offset_min,
        velocity_tolerance=velocity_tolerance,
        velocity_scale=velocity_scale.value,
        pitch_unit=pitch_unit.value,
        pedal_extend=pedal_extend.value,
        pedal_threshold=pedal_threshold,
        grid_s=grid,
        frame_hop_s=frame_hop,
        score_informed=velocity,
    )
    known = score_names(conventions) if fail_under else []
    thresholds = [parse_threshold(threshold, known) for threshold in fail_under or ()]
    check_outputs(outputs)
    listens_by_itself = velocity and estimate is None
    named = model or (VELOCITY_MODEL if listens_by_itself else "")
    if beats and velocity:
        raise UsageError("--velocity and --beats contradict each other: the score is given")
    choice = EngineChoice(
        named,
        check_device(device),
        parse_batch_size(batch_size),
        precision.value,
        fast,
        offline,
        beats=beats,
    )
    pairing, to_transcribe = find_pairs(reference, estimate, choice)
    refuse_overwriting(outputs, pairing.paths)
    if velocity and to_transcribe and not model:
        to_transcribe = replace(to_transcribe, model=VELOCITY_MODEL)
    if missing is Missing.ERROR:
        refuse_missing(pairing)
    ignored = pairing.missing if missing is Missing.IGNORE else ()
    pairs = [pair for pair in pairing.pairs if pair not in ignored]
    n_recordings = len(pairs) if to_transcribe else 0
    with Screen(QUIET if quiet else NORMAL, n_recordings) as screen:
        if beats and not to_transcribe:
            tasks, engine_settings = add_beats_to_files(pairs, choice, screen)
        else:
            tasks, engine_settings = make_tasks(pairs, to_transcribe, conventions, screen)
        results = score(tasks, conventions, outputs, jobs, screen)
        say_notices(results, tasks, pairing, conventions, screen)
    settings = {"dataset": dataset, "missing": missing.value, **engine_settings}
    document = make_document(results, conventions, settings, pairing)
    write_result(document, results, conventions, outputs)
    unmet = unmet_thresholds(document, thresholds)
    for problem in unmet:
        say(f"amt: {problem}", "red")
    if unmet or any(result.problem for result in results):
        raise typer.Exit(1)


def _tolerances_s(given: Sequence[float] | None) -> tuple[float, ...]:
    if given and max(given) > 1:
        raise UsageError(f"--onset-tolerance {max(given):g} is in seconds: 0.05 means 50 ms")
    return tuple(given or (0.05,))

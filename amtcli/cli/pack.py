"""``amt pack``: from the folders of a data set to a pack that ``amt train`` reads."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from amtcli.cli import packing, render
from amtcli.cli.options import Features, OnlyErrors
from amtcli.cli.packing import PackChoice

app = typer.Typer(
    help="Make data ready for training: recordings with their labels, in one folder.",
    no_args_is_help=True,
)

_CHECKS, _SPLITS = "Checks", "Splits"
_NO_LAG_S = 0.1  # without notes or sound no lag is measured


class Split(str, Enum):
    """What a recording is for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


_Source = Annotated[Path, typer.Argument(metavar="SOURCE", help="The data set's folder.")]
_Out = Annotated[
    Path, typer.Option("-o", "--out", metavar="PACK", help="The pack's folder, made or gone on.")
]
_SampleRate = Annotated[
    int, typer.Option(min=8000, max=192_000, metavar="HZ", help="Sample rate of the pack.")
]
_Jobs = Annotated[
    int | None,
    typer.Option(
        "-j",
        "--jobs",
        min=1,
        metavar="N",
        help="Processes. Without it: one per core.",
        show_default=False,
    ),
]
_MaxLag = Annotated[
    float,
    typer.Option(
        "--max-lag",
        min=0.02,
        max=2.0,
        metavar="SECONDS",
        help="Leave recordings out whose sound and labels are further apart.",
        rich_help_panel=_CHECKS,
    ),
]
_KeepSuspect = Annotated[
    bool,
    typer.Option(
        "--keep-suspect",
        help="Pack what does not seem to fit, too; the manifest says what is wrong.",
        rich_help_panel=_CHECKS,
    ),
]
_SplitOf = Annotated[
    Split, typer.Option("--split", help="What recordings are for.", rich_help_panel=_SPLITS)
]
_ValidationShare = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        metavar="SHARE",
        help="Of those that train, hold out about this share of the pieces, chosen by their names.",
        rich_help_panel=_SPLITS,
    ),
]


@app.command()
def maestro(
    source: _Source,
    out: _Out,
    sample_rate: _SampleRate = 16_000,
    jobs: _Jobs = None,
    features: Features = None,
    max_lag: _MaxLag = 0.1,
    keep_suspect: _KeepSuspect = False,
    quiet: OnlyErrors = False,
) -> None:
    """Pack MAESTRO, version 1, 2 or 3, with its own splits.

    SOURCE holds maestro-v*.csv or .json. Audio may have been converted, for
    example to flac.

    The same command goes on where it was interrupted. Exit code 1: some
    recordings are left out, each with the reason; the others are packed.
    """
    from amtcli.datasets.maestro import find_maestro

    packing.check_source(source, out)
    choice = PackChoice(out, sample_rate, jobs, tuple(features or ()), max_lag, keep_suspect, quiet)
    _leave(packing.carry_out(find_maestro(source), choice))


@app.command()
def maps(
    source: _Source,
    out: _Out,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="MUS, ISOL, RAND or UCHO; may be repeated. Without it: MUS.",
            show_default=False,
        ),
    ] = None,
    exclude_compositions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Never train on these compositions, one per line.",
            show_default=False,
            rich_help_panel=_SPLITS,
        ),
    ] = None,
    validation_instrument: Annotated[
        str | None,
        typer.Option(
            metavar="PIANO",
            help="Validate on this piano, such as SptkBGCl, instead of training on it.",
            show_default=False,
            rich_help_panel=_SPLITS,
        ),
    ] = None,
    sample_rate: _SampleRate = 16_000,
    jobs: _Jobs = None,
    features: Features = None,
    max_lag: _MaxLag = 0.1,
    keep_suspect: _KeepSuspect = False,
    quiet: OnlyErrors = False,
) -> None:
    """Pack MAPS: the Disklavier's recordings (ENSTDk) are the test, the others train.

    SOURCE is the original folder (wav with .mid and .txt), or holds audio
    with .tsv, named COMPOSITION_PIANO.

    The same command goes on where it was interrupted. Exit code 1: some
    recordings are left out, each with the reason; the others are packed.
    """
    from amtcli.datasets.maps import MapsOptions, find_maps, read_compositions

    packing.check_source(source, out)
    options = MapsOptions(
        parts=tuple(part or ["MUS"]),
        excluded_compositions=(
            read_compositions(exclude_compositions) if exclude_compositions else frozenset()
        ),
        validation_instrument=validation_instrument,
    )
    choice = PackChoice(out, sample_rate, jobs, tuple(features or ()), max_lag, keep_suspect, quiet)
    _leave(packing.carry_out(find_maps(source, options), choice))


@app.command()
def smd(
    source: _Source,
    out: _Out,
    split: _SplitOf = Split.TEST,
    validation_share: _ValidationShare = 0.0,
    sample_rate: _SampleRate = 16_000,
    jobs: _Jobs = None,
    features: Features = None,
    max_lag: _MaxLag = 0.1,
    keep_suspect: _KeepSuspect = False,
    quiet: OnlyErrors = False,
) -> None:
    """Pack the Saarland Music Data: audio and MIDI in one folder or several. All are for testing.

    The same command goes on where it was interrupted. Exit code 1: some
    recordings are left out, each with the reason; the others are packed.
    """
    from amtcli.datasets.pairs import find_smd

    packing.check_source(source, out)
    choice = PackChoice(out, sample_rate, jobs, tuple(features or ()), max_lag, keep_suspect, quiet)
    _leave(packing.carry_out(find_smd(source, split.value, validation_share), choice))


@app.command()
def mazurka(
    source: _Source,
    out: _Out,
    audio: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the recordings are (pid<number>.wav). Without it: in SOURCE.",
            show_default=False,
        ),
    ] = None,
    fold: Annotated[
        int,
        typer.Option(
            min=0,
            max=4,
            metavar="0-4",
            help="Which of five folds tests; the next one validates, the others train.",
            rich_help_panel=_SPLITS,
        ),
    ] = 0,
    sample_rate: _SampleRate = 22_050,
    jobs: _Jobs = None,
    features: Features = None,
    keep_suspect: _KeepSuspect = False,
    quiet: OnlyErrors = False,
) -> None:
    """Pack MazurkaBL: beats, downbeats and dynamics of Chopin's mazurkas, with your audio.

    Folds keep a mazurka together and depend on the data set's files alone.
    Another --fold of the same pack rewrites its list and no audio.

    The same command goes on where it was interrupted. Exit code 1: some
    recordings are left out, each with the reason; the others are packed.
    """
    from amtcli.datasets.mazurka import find_mazurka

    packing.check_source(source, out)
    packing.check_source(audio or source, out)
    choice = PackChoice(
        out, sample_rate, jobs, tuple(features or ()), _NO_LAG_S, keep_suspect, quiet
    )
    _leave(packing.carry_out(find_mazurka(source, audio or source, fold), choice))


@app.command()
def pairs(
    source: _Source,
    out: _Out,
    split: _SplitOf = Split.TRAIN,
    validation_share: _ValidationShare = 0.1,
    sample_rate: _SampleRate = 16_000,
    jobs: _Jobs = None,
    features: Features = None,
    max_lag: _MaxLag = 0.1,
    keep_suspect: _KeepSuspect = False,
    quiet: OnlyErrors = False,
) -> None:
    """Pack any folder: audio, each with a .mid, .midi or .tsv of the same name.

    What lies in a folder called train, validation or test is for that; the
    rest is for --split. A .tsv has onset s, offset s, MIDI note and velocity,
    separated by tabs.

    The same command goes on where it was interrupted. Exit code 1: some
    recordings are left out, each with the reason; the others are packed.
    """
    from amtcli.datasets.pairs import find_pairs

    packing.check_source(source, out)
    choice = PackChoice(out, sample_rate, jobs, tuple(features or ()), max_lag, keep_suspect, quiet)
    _leave(packing.carry_out(find_pairs(source, split.value, validation_share), choice))


app.command()(render.render)


@app.command()
def performances(
    midi: render.MidiFiles,
    out: _Out,
    exclude_compositions: render.ExcludeCompositions = None,
    split_from: render.SplitFrom = None,
    validation_share: render.HeldOutShare = None,
    jobs: _Jobs = None,
    quiet: OnlyErrors = False,
) -> None:
    """Pack MIDI files without sound, for networks that are told notes and hear nothing.

    Notes, pedals and the beats of a file beside them ((n)ASAP's annotations,
    or .beats) are packed with the times that they have there.

    A folder below one that is given is taken for one composition, and is
    never divided among splits, unless it is one of MAESTRO's, which are
    years. A file beside it stands for itself.

    The same command goes on where it was interrupted. Exit code 1: some
    files are left out, each with the reason; the others are packed.
    """
    from amtcli.datasets.performances import CLOCK_HZ, KIND

    found = render.find(midi, out, exclude_compositions, split_from, validation_share)
    choice = PackChoice(out, CLOCK_HZ, jobs, (), _NO_LAG_S, False, quiet)
    _leave(packing.carry_out(replace(found, kind=KIND), choice))


@app.command()
def verify(
    pack: Annotated[Path, typer.Argument(metavar="PACK", help="The pack's folder.")],
    jobs: _Jobs = None,
    quiet: OnlyErrors = False,
) -> None:
    """Read a whole pack and compare every recording with its hash. Exit code 1: some differ."""
    _leave(packing.verify(pack, jobs, quiet))


def _leave(code: int) -> None:
    if code:
        raise typer.Exit(code)

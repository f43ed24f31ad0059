"""``amt pack render``: labelled recordings from MIDI files and sampled instruments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amtcli.cli.options import Features, OnlyErrors
from amtcli.cli.packing import (
    cache,
    check_source,
    front_end_table,
    listed,
    moves,
    n_cores,
    no_longer_part,
)
from amtcli.cli.streams import say
from amtcli.cli.work_bar import WorkBar, in_words
from amtcli.errors import UsageError
from amtcli.files import is_folder

if TYPE_CHECKING:
    from amtcli.datasets.pack import Manifest
    from amtcli.datasets.packing import Packed
    from amtcli.datasets.rendering import RenderOptions
    from amtcli.datasets.rendering_synthesiser import Instrument
    from amtcli.datasets.source import DataSet

_SOUND, _SPLITS = "Sound", "Splits"
_USUAL_SHARE = 0.05

MidiFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="MIDI...",
        help="MIDI files, tables of notes (.tsv), and folders of them.",
        exists=True,
    ),
]
ExcludeCompositions = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Leave these folders of MIDI files out, one per line; * stands for anything.",
        show_default=False,
        rich_help_panel=_SPLITS,
    ),
]
SplitFrom = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV",
        help="MAESTRO's list: what it holds, too, keeps its split, with all of its folder.",
        show_default=False,
        rich_help_panel=_SPLITS,
    ),
]
HeldOutShare = Annotated[
    float | None,
    typer.Option(
        "--validation-share",
        min=0.0,
        max=1.0,
        metavar="SHARE",
        help="Of those that train, hold out about this share of the folders, chosen by name. "
        f"Without it: {_USUAL_SHARE:g}, with --split-from none.",
        show_default=False,
        rich_help_panel=_SPLITS,
    ),
]


def render(
    midi: MidiFiles,
    soundfont: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE",
            help="A SoundFont (sf2, sf3) or SFZ instrument; may be repeated, and each "
            "recording takes one.",
            rich_help_panel=_SOUND,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="PACK", help="The pack's folder, made or gone on."),
    ],
    program: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            max=127,
            metavar="N",
            help="Program of the SoundFonts, from 0; may be repeated. Without it: 0. SFZ has none.",
            show_default=False,
            rich_help_panel=_SOUND,
        ),
    ] = None,
    varied: Annotated[
        bool,
        typer.Option(
            "--varied",
            help="Other tempos and dynamics, and stretches with octaves and quickly repeated "
            "notes that nobody played.",
            rich_help_panel=_SOUND,
        ),
    ] = False,
    dry: Annotated[
        bool,
        typer.Option("--dry", help="No room, equaliser or noise.", rich_help_panel=_SOUND),
    ] = False,
    copies: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Recordings of each file, by different instruments.",
            rich_help_panel=_SOUND,
        ),
    ] = 1,
    seed: Annotated[
        int, typer.Option(min=0, help="Of all that is random.", rich_help_panel=_SOUND)
    ] = 0,
    max_duration: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Of longer performances, render a random excerpt of this length.",
            show_default=False,
        ),
    ] = None,
    exclude_compositions: ExcludeCompositions = None,
    split_from: SplitFrom = None,
    validation_share: HeldOutShare = None,
    sample_rate: Annotated[
        int, typer.Option(min=8000, max=44_100, metavar="HZ", help="Sample rate of the pack.")
    ] = 16_000,
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--jobs",
            min=1,
            metavar="N",
            help="Processes. Without it: one per core.",
            show_default=False,
        ),
    ] = None,
    features: Features = None,
    quiet: OnlyErrors = False,
) -> None:
    r"""Render MIDI files with sampled instruments: recordings whose labels are exact.

    SoundFonts need the program fluidsynth, SFZ needs sfizz_render (pip install 'amtcli\[sfz]').

    Each performance is played with its sustain pedal by one of the instruments, up to 20 cents
    out of tune, at a level of its own, in a room with noise: all drawn from the seed.

    A folder below one that is given is taken for one composition, and is never divided among
    splits, unless it is one of MAESTRO's, which are years. A file beside it stands for itself.

    The same command makes the same pack (with SFZ only nearly: sfizz reads long samples while it
    plays, and where it gets no core in time, notes break off: with SFZ leave one free by --jobs),
    and goes on where it was interrupted. Exit code 1: some files are left out, each with the
    reason; the others are packed.

    Example: amt pack render asap/ --soundfont FluidR3_GM.sf2 --soundfont TimGM6mb.sf2 -o PACK
    """
    from amtcli.datasets.rendering import RenderOptions, check
    from amtcli.training.augmentation.surroundings import place_somewhere

    options = RenderOptions(
        sample_rate_hz=sample_rate,
        seed=seed,
        n_copies=copies,
        longest_s=max_duration,
        varied=varied,
        alter=None if dry else place_somewhere,
        n_jobs=jobs or n_cores(),
    )
    data_set = find(midi, out, exclude_compositions, split_from, validation_share)
    check(data_set, out, options)
    instruments = _open(soundfont, program or [])
    front_ends = {name: front_end_table(name) for name in features or ()}
    manifest = _carry_out(data_set, instruments, out, options, quiet)
    for name, front_end in front_ends.items():
        if manifest.recordings:
            cache(name, front_end, out, options.n_jobs, quiet=quiet)
    if manifest.rejected:
        raise typer.Exit(1)


def find(
    midi: list[Path],
    out: Path,
    exclude: Path | None,
    split_from: Path | None,
    validation_share: float | None,
) -> DataSet:
    """Find the MIDI files for a pack in ``out``, and divide them among splits."""
    from amtcli.datasets.maps import read_compositions
    from amtcli.datasets.rendering_sources import find_midi, read_maestro_splits
    from amtcli.datasets.splits import hold_out

    for folder in filter(is_folder, midi):
        check_source(folder, out)
    if validation_share is None:
        validation_share = _USUAL_SHARE if split_from is None else 0.0
    found = find_midi(
        midi,
        sorted(read_compositions(exclude)) if exclude else (),
        read_maestro_splits(split_from) if split_from else None,
    )
    return replace(found, recordings=hold_out(found.recordings, validation_share))


def _open(soundfonts: list[Path], programs: list[int]) -> list[Instrument]:
    from amtcli.datasets.rendering_players import is_sfz
    from amtcli.datasets.rendering_synthesiser import open_instrument

    if programs and all(is_sfz(file) for file in soundfonts):
        raise UsageError("--program chooses among those of SoundFonts; SFZ instruments have none")
    return [
        open_instrument(file, number)
        for file in soundfonts
        for number in ([0] if is_sfz(file) else programs or [0])
    ]


def _carry_out(
    data_set: DataSet,
    instruments: list[Instrument],
    out: Path,
    options: RenderOptions,
    quiet: bool,
) -> Manifest:
    from amtcli.datasets.packing import check_space
    from amtcli.datasets.rendering import estimate, render

    before = listed(out)
    needed = estimate(data_set, out, options)
    n_free = check_space(out, needed.n_bytes)
    n_takes, total_s = len(data_set.recordings) * options.n_copies, sum(needed.durations_s.values())
    plan = (
        f"{n_takes} recordings by {len(instruments)} instruments; about {in_words(total_s)} of "
        f"audio to render: {needed.n_bytes / 1e9:.2f} GB of {n_free / 1e9:.0f} GB that are free"
    )
    for text in () if quiet else (*data_set.notices, plan):
        say(f"amt: {text}")
    bar = WorkBar("rendering", n_takes, total_s, quiet=quiet)
    with bar:

        def count(rendered: Packed) -> None:
            if rendered.problem is not None:
                bar.say(f"amt: {rendered.name} is left out: {rendered.problem}", "red")
            bar.advance(needed.durations_s.get(rendered.name, 0.0))

        manifest = render(data_set, instruments, out, options, count)
    if not quiet:
        hours = sum(entry.duration_s for entry in manifest.recordings) / 3600
        left = f"; {len(manifest.rejected)} left out" if manifest.rejected else ""
        summary = f"{len(manifest.recordings)} recordings in {out}: {hours:.1f} h{left}"
        for text in (summary, *no_longer_part(out, manifest), *moves(before, manifest)):
            say(f"amt: {text}")
    return manifest

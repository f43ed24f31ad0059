"""``amt pack render``: labelled recordings from MIDI files and SoundFonts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amtcli.cli.streams import is_terminal, say

if TYPE_CHECKING:
    from amtcli.datasets.pack import Manifest
    from amtcli.datasets.rendering import RenderOptions
    from amtcli.datasets.rendering_sources import MidiSources
    from amtcli.datasets.rendering_synthesiser import Instrument

_BYTES_PER_SAMPLE = 2
_MOST_REASONS = 10


def render(
    midi: Annotated[
        list[Path],
        typer.Argument(metavar="MIDI...", help="MIDI files, and folders of them.", exists=True),
    ],
    soundfont: Annotated[
        list[Path],
        typer.Option(metavar="FILE", help="A SoundFont (sf2, sf3); give several for variety."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="PACK", help="The pack's folder.")],
    program: Annotated[
        list[int] | None,
        typer.Option(
            min=0, max=127, metavar="N", help="General MIDI program, from 0 on; repeatable.  [0]"
        ),
    ] = None,
    sample_rate: Annotated[
        int, typer.Option(min=8000, max=44_100, metavar="HZ", help="Of the pack.")
    ] = 16_000,
    copies: Annotated[int, typer.Option(min=1, metavar="N", help="Renderings of each file.")] = 1,
    max_duration: Annotated[
        float | None,
        typer.Option(min=1, metavar="S", help="Of longer performances, render an excerpt."),
    ] = None,
    dry: Annotated[bool, typer.Option("--dry", help="No room, equaliser or noise.")] = False,
    exclude_compositions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Leave these folders out, one per line; * is anything."),
    ] = None,
    split_from: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="MAESTRO's table, for performances that it holds."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes.  [one per core]")
    ] = None,
) -> None:
    """Render MIDI files with SoundFonts: audio whose labels are known exactly.

    Each performance is played by one of the SoundFonts and programs, a little out of tune, at a
    level of its own, in a room with noise, all drawn from the seed. The sustain pedal is played.
    The same command gives the same pack, and goes on with one that was interrupted.

    A folder of MIDI files is one composition. One in twenty validates, or, with --split-from,
    what MAESTRO holds takes MAESTRO's split.

    amt pack render asap/ --soundfont FluidR3_GM.sf2 --soundfont TimGM6mb.sf2 -o rendered
    """
    from amtcli.datasets.packing import check_space
    from amtcli.datasets.rendering import RenderOptions, estimate_s
    from amtcli.training.augmentation.surroundings import place_somewhere

    options = RenderOptions(
        sample_rate_hz=sample_rate,
        seed=seed,
        n_copies=copies,
        longest_s=max_duration,
        alter=None if dry else place_somewhere,
        n_jobs=jobs or os.cpu_count() or 1,
    )
    found = _find(midi, exclude_compositions, split_from)
    for notice in found.notices:
        say(f"amt: {notice}")
    instruments = _open_instruments(soundfont, program or [0])
    duration_s = estimate_s(found.sources, out, options)
    n_bytes = round(duration_s * sample_rate * _BYTES_PER_SAMPLE)
    check_space(out, n_bytes)
    n_takes = len(found.sources) * copies
    say(
        f"amt: {n_takes} recordings by {len(instruments)} instruments; to be rendered: about "
        f"{duration_s / 3600:.1f} h, {n_bytes / 1e9:.1f} GB"
    )
    _tell(_render(found, instruments, out, options), out)


def _find(midi: list[Path], exclude: Path | None, split_from: Path | None) -> MidiSources:
    from amtcli.datasets.maps import read_compositions
    from amtcli.datasets.rendering_sources import find_midi, read_maestro_splits

    return find_midi(
        midi,
        sorted(read_compositions(exclude)) if exclude else (),
        read_maestro_splits(split_from) if split_from else None,
    )


def _open_instruments(soundfonts: list[Path], programs: list[int]) -> list[Instrument]:
    from amtcli.datasets.rendering_synthesiser import open_instrument

    return [open_instrument(file, number) for file in soundfonts for number in programs]


def _render(
    found: MidiSources, instruments: list[Instrument], out: Path, options: RenderOptions
) -> Manifest:
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from amtcli.datasets.rendering import render

    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not is_terminal(sys.stderr),
    ) as bars:
        bar = bars.add_task("recordings", total=len(found.sources) * options.n_copies)
        return render(found.sources, instruments, out, options, lambda _: bars.advance(bar))


def _tell(manifest: Manifest, out: Path) -> None:
    for name, problem in list(manifest.rejected.items())[:_MOST_REASONS]:
        say(f"amt: {name} is left out: {problem}", "yellow")
    if len(manifest.rejected) > _MOST_REASONS:
        say(f"amt: {len(manifest.rejected)} recordings are left out; the manifest has the reasons")
    hours = sum(entry.duration_s for entry in manifest.recordings) / 3600
    say(f"amt: {len(manifest.recordings)} recordings, {hours:.2f} h, in {out}")

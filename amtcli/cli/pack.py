"""``amt pack``: from the folders of a data set to a pack that ``amt train`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amtcli.cli.streams import say

app = typer.Typer(help="Make data ready for training.", no_args_is_help=True)

_Folder = Annotated[Path, typer.Argument(metavar="SOURCE", help="The data set's folder.")]
_Out = Annotated[Path, typer.Option("-o", "--out", metavar="PACK", help="The pack's folder.")]
_Rate = Annotated[int, typer.Option(min=8000, max=96_000, metavar="HZ", help="Of the pack.")]


@app.command()
def maps(
    source: _Folder,
    out: _Out,
    sample_rate: _Rate = 16_000,
    exclude_compositions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Never train on these, one per line.")
    ] = None,
    validation_instrument: Annotated[
        str | None, typer.Option(metavar="PIANO", help="Validate on this piano.")
    ] = None,
) -> None:
    """Pack MAPS."""
    from amtcli.datasets.maps import MapsOptions, find_maps, read_compositions
    from amtcli.datasets.packing import PackOptions, pack

    excluded = read_compositions(exclude_compositions) if exclude_compositions else frozenset()
    options = MapsOptions(
        excluded_compositions=excluded, validation_instrument=validation_instrument
    )
    manifest = pack(find_maps(source, options), out, PackOptions(sample_rate))
    say(f"amt: {len(manifest.recordings)} recordings in {out}")

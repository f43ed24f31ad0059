"""Options that several commands have, word for word the same."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from amtcli.cli.engines import Precision
from amtcli.errors import UsageError

IN_OUT, ENGINE, REPORT = "Input/output", "Model and engine", "Report"

_DEVICE_PATTERN = re.compile(r"auto|cpu|mps|cuda(:\d+)?")

Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Never connect: the model must be there already.",
        rich_help_panel=ENGINE,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:N or mps.",
        rich_help_panel=ENGINE,
    ),
]
BatchSize = Annotated[
    str,
    typer.Option(
        metavar="auto|N",
        help="Windows computed at once; the result does not depend on it.",
        rich_help_panel=ENGINE,
    ),
]
Arithmetic = Annotated[
    Precision,
    typer.Option(
        help="auto takes int8 or bf16 where the device is faster with it and notes are as good.",
        rich_help_panel=ENGINE,
    ),
]
Beats = Annotated[
    str,
    typer.Option(
        "--beats",
        metavar="NAME",
        help="Find beats and downbeats, too, with this model: metre ships. They set the tempo and "
        "the bars of MIDI files, and no note moves.",
        show_default=False,
        rich_help_panel=ENGINE,
    ),
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast",
        help="Let windows overlap less: faster, slightly less accurate.",
        rich_help_panel=ENGINE,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "-n",
        "--dry-run",
        help="Print what would be done (tab-separated into a pipe) and do nothing.",
        rich_help_panel=IN_OUT,
    ),
]
Features = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Compute ahead what the front-end of this recipe or model makes of the audio; may "
        "be repeated. For a pack that is there, repeat its other options, too.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors.", rich_help_panel=REPORT)]
OnlyErrors = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors.")]


def check_device(name: str) -> str:
    """Return the name of a device. Raises UsageError for one that there cannot be."""
    if not _DEVICE_PATTERN.fullmatch(name):
        raise UsageError(f"--device {name} is unknown; choose auto, cpu, cuda, cuda:N or mps")
    return name


def parse_batch_size(text: str) -> int | None:
    """Read a number of windows, None for auto. Raises UsageError."""
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise UsageError(f"--batch-size takes auto or a number from 1, not {text}")
    return int(text)


def given(ctx: typer.Context) -> set[str]:
    """Return the names of the parameters that the user wrote."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}

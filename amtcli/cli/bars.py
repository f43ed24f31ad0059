"""Bars on standard error, where a person is watching."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from amtcli.cli.streams import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress as Bars


def can_draw() -> bool:
    """Whether standard error is a terminal on which a line can be drawn again."""
    return is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"


def make_bars(*, shows_time_left: bool = False) -> Bars:
    """Make bars whose tasks have a field ``detail``; rich is loaded only now."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *([TimeRemainingColumn()] if shows_time_left else []),
        TextColumn("{task.fields[detail]}", markup=False),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
    )

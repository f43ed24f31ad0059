"""How far long work on many recordings is, and how long it will still take."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from amtcli.cli.bars import can_draw, make_bars
from amtcli.cli.streams import printable, say

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

_LINE_EVERY_S = 30.0


class WorkBar:
    """A bar where a person is watching, else a line every half minute; a context manager.

    Time left follows from ``total_s``, the seconds of audio that are still to be worked on.
    """

    def __init__(self, what: str, n_recordings: int, total_s: float, *, quiet: bool = False):
        self._what = what
        self._n_recordings = n_recordings
        self._total_s = total_s
        self._quiet = quiet
        self._n_done = 0
        self._done_s = 0.0
        self._started_s = self._said_s = time.monotonic()
        self._bars: Bars | None = None
        self._drawn = not quiet and can_draw()

    def __enter__(self) -> WorkBar:
        if self._drawn:
            self._bars = make_bars()
            self._task = self._bars.add_task(self._what, total=self._n_recordings, detail="")
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def advance(self, duration_s: float) -> None:
        """Count one recording as done, and ``duration_s`` of the total."""
        self._n_done += 1
        self._done_s += duration_s
        if self._bars is not None:
            self._bars.update(self._task, completed=self._n_done, detail=self.text())
        elif not self._quiet and time.monotonic() - self._said_s > _LINE_EVERY_S:
            self._said_s = time.monotonic()
            say(f"amt: {self._what}: {self.text()}")

    def say(self, text: str, style: str = "") -> None:
        """Write a line above the bar."""
        if self._bars is None:
            say(text, style)
            return
        from rich.text import Text

        self._bars.console.print(Text(printable(text), style), soft_wrap=True)

    def text(self) -> str:
        """Return how far the work is, in words."""
        left = ""
        if 0 < self._done_s < self._total_s:
            elapsed_s = time.monotonic() - self._started_s
            left = f", {in_words(elapsed_s * (self._total_s / self._done_s - 1))} left"
        return f"{self._n_done} of {self._n_recordings} recordings{left}"


def in_words(duration_s: float) -> str:
    """Return a duration as a person would say it."""
    if duration_s < 90:
        return f"{duration_s:.0f} s"
    minutes = round(duration_s / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"

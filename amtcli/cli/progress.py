"""What `amt` says on standard error: messages, and two bars where a person is watching."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from amtcli.cli.bars import can_draw, make_bars
from amtcli.cli.streams import is_terminal, printable, say

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from amtcli.engine import Progress

QUIET, NORMAL, VERBOSE, CHATTY = -1, 0, 1, 2
_LONGEST_NAME = 48


class Screen:
    """Messages and bars of one run; bars only on a terminal that can draw them.

    ``verbosity`` is QUIET (errors only), NORMAL, VERBOSE (a line per recording) or CHATTY.
    Speeds are seconds of audio per second since `start_clock`.
    """

    def __init__(self, verbosity: int, n_recordings: int, *, writes_stdout: bool = False) -> None:
        self.verbosity = verbosity
        self.animated = (
            verbosity >= NORMAL
            and can_draw()
            # Bars that are drawn over and over would erase results on the same terminal.
            and not (writes_stdout and is_terminal(sys.stdout))
        )
        self._n_recordings = n_recordings
        self._bars: Bars | None = None
        self._started_s = time.monotonic()
        self._mutex = threading.Lock()
        self._announced: set[str] = set()
        self._n_settled = 0
        self._settled_s = 0.0
        self._under_way: dict[str, tuple[float, float | None]] = {}

    def __enter__(self) -> Screen:
        if self.animated:
            self._bars = make_bars()
            self._batch = self._bars.add_task(
                "recordings", total=self._n_recordings, detail="", visible=self._n_recordings > 1
            )
            self._current = self._bars.add_task("starting", total=None, detail="")
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

    def start_clock(self) -> None:
        """Begin to measure speed: the model is loaded, work starts."""
        self._started_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since `start_clock`."""
        return time.monotonic() - self._started_s

    def say(self, text: str, *, level: int = NORMAL, style: str = "") -> None:
        """Write a message above the bars, if the verbosity is at least ``level``."""
        if self.verbosity < level:
            return
        if self._bars is None:
            say(text, style)
            return
        from rich.text import Text

        shown = Text(printable(text, keep_newlines=True), style)
        self._bars.console.print(shown, soft_wrap=True)

    def error(self, text: str) -> None:
        """Write a message that no verbosity silences."""
        self.say(text, level=QUIET, style="red")

    def status(self, text: str) -> None:
        """Show what goes on before the first recording."""
        if self._bars is not None:
            self._bars.update(self._current, description=text, completed=0, total=None, detail="")

    def download(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        """Show how far a model has been fetched; without bars, say once that it is."""
        if self._bars is None:
            if what not in self._announced:
                self._announced.add(what)
                self.say(f"amt: fetching {what}")
            return
        length = "" if total_bytes is None else f" of {total_bytes / 1e6:.1f}"
        self._bars.update(
            self._current,
            description=_short(f"fetching {what}"),
            completed=done_bytes,
            total=total_bytes,
            detail=f"{done_bytes / 1e6:.1f}{length} MB",
        )

    def advance(self, progress: Progress) -> None:
        """Take in how far the engine is with a recording. May be called from any thread."""
        with self._mutex:
            self._under_way[progress.recording.key] = (progress.done_s, progress.total_s)
            self._draw()

    def settle(self, key: str) -> None:
        """Count a recording as dealt with, whatever became of it."""
        with self._mutex:
            self._n_settled += 1
            self._settled_s += self._under_way.pop(key, (0.0, None))[0]
            self._draw()

    def _draw(self) -> None:
        if self._bars is None:
            return
        settled = f"{self._n_settled} of {self._n_recordings}"
        self._bars.update(self._batch, completed=self._n_settled, detail=settled)
        # Short recordings overlap in the engine; the oldest one stays in view until it is done.
        key = next(iter(self._under_way), None)
        if key is None:
            return
        done_s, total_s = self._under_way[key]
        all_done_s = self._settled_s + sum(done for done, _ in self._under_way.values())
        speed = all_done_s / max(self.elapsed_s, 1e-3)
        length = "" if total_s is None else f" of {total_s:.0f}"
        self._bars.update(
            self._current,
            description=_short(printable(key)),
            completed=done_s,
            total=total_s,
            detail=f"{done_s:.0f}{length} s, {speed:.1f}x real time",
        )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"...{name[-_LONGEST_NAME + 3 :]}"

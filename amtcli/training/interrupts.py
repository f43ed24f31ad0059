"""What reaches a training from outside: stop, look inside, out of time. Heard between steps."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

DEBUG_FILE = "debug"


class Interrupts:
    """Listens for SIGINT and SIGTERM (stop), SIGUSR1 or a file (debugger), and the clock.

    A second SIGINT ends the process at once. Outside the main thread there are no signals.
    ``folder`` None: there is no file to look for.
    """

    def __init__(self, folder: Path | None, time_limit_s: float | None) -> None:
        self._debug_file = None if folder is None else folder / DEBUG_FILE
        self._deadline_s = math.inf if time_limit_s is None else time.monotonic() + time_limit_s
        self._handlers: dict[signal.Signals, Any] = {}
        self.stop = False
        self._debug = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._listen(signal.SIGINT, self._on_stop)
            self._listen(signal.SIGTERM, self._on_stop)
            if hasattr(signal, "SIGUSR1"):
                self._listen(signal.SIGUSR1, self._on_debug)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @property
    def out_of_time(self) -> bool:
        """Whether the time limit has passed."""
        return time.monotonic() >= self._deadline_s

    def wants_debugger(self) -> bool:
        """Tell, once for each time, whether somebody asked to look inside."""
        wanted = self._debug
        self._debug = False
        if self._debug_file is not None and self._debug_file.exists():
            self._debug_file.unlink()
            wanted = True
        return wanted

    def _listen(self, number: signal.Signals, handler: Any) -> None:
        self._handlers[number] = signal.signal(number, handler)

    def _on_stop(self, number: int, _: FrameType | None) -> None:
        if self.stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop = True

    def _on_debug(self, *_: object) -> None:
        self._debug = True


def can_debug() -> bool:
    """Tell whether a debugger could be talked to: on a terminal, or as PYTHONBREAKPOINT says."""
    chosen = sys.breakpointhook is not sys.__breakpointhook__
    return chosen or bool(os.environ.get("PYTHONBREAKPOINT")) or sys.stdin.isatty()

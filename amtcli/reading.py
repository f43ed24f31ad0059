"""Recordings to windows, read by threads of their own so that computing never waits for them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from amtcli.audio import open_audio
from amtcli.audio.raising import raised
from amtcli.errors import AmtError
from amtcli.windows import WindowSpec, cut_windows


@dataclass(frozen=True)
class Recording:
    """One audio source: a file, a binary stream, or samples with their rate.

    ``key`` names it to the user. Samples are (samples,) or (channels, samples).
    """

    key: str
    source: Path | BinaryIO | NDArray[Any]
    source_rate_hz: int | None = None


@dataclass
class ReadState:
    """What is known of a recording while it is read; shared by its windows."""

    recording: Recording
    started: float = field(default_factory=time.perf_counter)
    expected_s: float | None = None
    duration_s: float = 0.0
    read_s: float = 0.0  # time spent decoding and resampling
    warnings: tuple[str, ...] = ()
    error: AmtError | None = None


@dataclass(frozen=True)
class Window:
    """The next window of a recording, or, with ``samples`` None, its end.

    ``index`` counts the windows before it in its recording.
    """

    state: ReadState
    index: int
    samples: NDArray[np.float32] | None  # (channels, length)


@dataclass(frozen=True)
class ReadOptions:
    """What the front-end wants, and how far reading may run ahead."""

    rate_hz: int
    mono: bool
    window: WindowSpec
    n_threads: int
    n_ahead: int  # windows held ready at most


class _Signal(Enum):
    THREAD_ENDED = auto()
    WAKE = auto()


_Item = Window | BaseException | _Signal


class WindowReader:
    """Iterates over the windows of many recordings; those of one recording come in order.

    None in their place says that `wake` was called, not that there are no more.

    Recordings are asked for only when a thread is free to read the next. A recording that
    cannot be read ends with its error set; errors that are not AmtError are raised here.
    """

    def __init__(self, recordings: Iterable[Recording], options: ReadOptions) -> None:
        self._recordings = iter(recordings)
        self._options = options
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._ready: queue.Queue[_Item] = queue.Queue(options.n_ahead)
        self._threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(options.n_threads)
        ]

    def __enter__(self) -> WindowReader:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=1)  # one that waits for standard input cannot be told to stop

    def wake(self) -> None:
        """Give None to who waits for the next window; any thread may call it."""
        with suppress(queue.Full):  # then nobody waits
            self._ready.put_nowait(_Signal.WAKE)

    def __iter__(self) -> Iterator[Window | None]:
        n_working = len(self._threads)
        while n_working:
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item
            if item is _Signal.THREAD_ENDED:
                n_working -= 1
            else:
                yield item if isinstance(item, Window) else None

    def _work(self) -> None:
        try:
            while (recording := self._next_recording()) is not None:
                self._read(ReadState(recording))
            self._put(_Signal.THREAD_ENDED)
        except BaseException as error:  # carried to the thread that iterates
            self._put(error)

    def _next_recording(self) -> Recording | None:
        with self._lock:
            return None if self._stopped.is_set() else next(self._recordings, None)

    def _read(self, state: ReadState) -> None:
        options, recording = self._options, state.recording
        index = 0
        try:
            with open_audio(
                recording.source,
                options.rate_hz,
                mono=options.mono,
                source_rate_hz=recording.source_rate_hz,
                name=recording.key,
            ) as stream:
                state.expected_s = stream.expected_duration_s
                loud = raised(stream, options.rate_hz)
                windows = cut_windows(loud, options.window)
                while (samples := self._timed_next(state, windows)) is not None:
                    if not self._put(Window(state, index, samples)):
                        return
                    index += 1
                state.duration_s, state.warnings = stream.duration_s, stream.warnings
        except AmtError as error:
            state.error = error
        self._put(Window(state, index, None))

    def _timed_next(
        self, state: ReadState, windows: Iterator[NDArray[np.float32]]
    ) -> NDArray[np.float32] | None:
        start = time.perf_counter()
        samples = next(windows, None)
        state.read_s += time.perf_counter() - start
        return samples

    def _put(self, item: _Item) -> bool:
        """Hand an item over, waiting while the queue is full; False when reading was stopped."""
        while not self._stopped.is_set():
            try:
                self._ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

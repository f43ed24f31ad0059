"""Two engines as one: one transcribes, the other reads the velocities of what was transcribed.

A recording is heard twice, because a note is known only when it has ended, and its velocity is
read with those in mind that sound with it.
"""

from __future__ import annotations

import io
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from amtcli.engine import Engine, Progress, Transcription
from amtcli.reading import Recording
from amtcli.velocity_engine import VelocityEngine
from amtcli.velocity_reading import ScoredRecording, rewritten

_BLOCK_BYTES = 1 << 20


class RefiningEngine:
    """Transcribes like an engine; velocities come from a velocity model."""

    def __init__(self, transcriber: Engine, reader: VelocityEngine) -> None:
        self._transcriber = transcriber
        self._reader = reader
        self.device = transcriber.device
        self.precision = transcriber.precision
        self.description = transcriber.description

    def transcribe(
        self,
        recordings: Iterable[Recording],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Generator[Transcription]:
        """Transcribe recordings; a stream is kept in a file until it has been heard twice.

        Yields one result per recording, in the order in which they finish.
        """
        with tempfile.TemporaryDirectory() as folder:
            kept = (_kept(recording, Path(folder)) for recording in recordings)
            with closing(self._transcriber.transcribe(kept, on_progress)) as results:
                yield from map(self._refined, results)

    def _refined(self, result: Transcription) -> Transcription:
        """Replace the velocities of what was transcribed."""
        if result.performance is None or not result.performance.notes:
            return result
        start = time.perf_counter()
        scored = ScoredRecording(result.recording, result.performance)
        (reading,) = self._reader.read_velocities([scored])
        performance = None if reading.velocities is None else rewritten(reading)
        elapsed_s = result.timings.elapsed_s + time.perf_counter() - start
        timings = replace(result.timings, elapsed_s=elapsed_s)
        return replace(result, performance=performance, error=reading.error, timings=timings)


def _kept(recording: Recording, folder: Path) -> Recording:
    """Copy what can be read only once into a file of the folder."""
    source = recording.source
    if isinstance(source, np.ndarray):
        return recording
    with ExitStack() as stack:
        if isinstance(source, Path):
            if source.is_file() or not source.exists():
                return recording
            try:
                source = stack.enter_context(source.open("rb"))
            except OSError:
                return recording  # which is told when it is to be read
        copy = folder / secrets.token_hex(8)
        try:
            with copy.open("wb") as file:
                shutil.copyfileobj(source, file, _BLOCK_BYTES)
        except OSError as error:
            return replace(recording, source=io.BufferedReader(_Unreadable(error)))
    return replace(recording, source=copy)


class _Unreadable(io.RawIOBase):
    """A stream that could not be kept: whoever reads it is told why, and that recording fails."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    def readable(self) -> bool:
        """Say yes, to be asked."""
        return True

    def readinto(self, _: object) -> int:
        """Raise what went wrong."""
        raise self._error

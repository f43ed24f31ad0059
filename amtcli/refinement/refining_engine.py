"""Two engines as one: one transcribes, the other reads the velocities of what was transcribed.

A recording is heard twice, because a note is known only when it has ended, and its velocity is
read with those in mind that sound with it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from amtcli.engine import Engine, Progress, Transcription
from amtcli.reading import Recording
from amtcli.refinement.engine import VelocityEngine
from amtcli.refinement.keeping import kept
from amtcli.refinement.reading import ScoredRecording, rewritten


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
            copies = (kept(recording, Path(folder)) for recording in recordings)
            with closing(self._transcriber.transcribe(copies, on_progress)) as results:
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

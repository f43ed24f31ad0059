"""Several engines as one: one transcribes, others add what is heard with the notes in hand.

They come after it: a note is known only when it has ended, and its velocity is read with those in
mind that sound with it. Who listens hears the recording once more; beats may be found in the notes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from amtcli.engine import Engine, Progress, Transcription
from amtcli.errors import AmtError
from amtcli.notes import Performance
from amtcli.reading import Recording
from amtcli.refinement.beats_engine import BeatsOfNotesEngine
from amtcli.refinement.engine import VelocityEngine
from amtcli.refinement.keeping import kept
from amtcli.refinement.reading import ScoredRecording, rewritten

Refinement = Callable[[Recording, Performance], Performance]
"""Takes a recording and what was played in it; gives the latter, more known. Raises AmtError."""


class RefiningEngine:
    """Transcribes like an engine; what it found then goes through each refinement in turn."""

    def __init__(self, transcriber: Engine, *refinements: Refinement) -> None:
        self._transcriber = transcriber
        self._refinements = refinements
        self.device = transcriber.device
        self.precision = transcriber.precision
        self.description = transcriber.description

    def transcribe(
        self,
        recordings: Iterable[Recording],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Generator[Transcription]:
        """Transcribe recordings; a stream is kept in a file until it has been heard again.

        Yields one result per recording, in the order in which they finish.
        """
        with tempfile.TemporaryDirectory() as folder:
            copies = (kept(recording, Path(folder)) for recording in recordings)
            with closing(self._transcriber.transcribe(copies, on_progress)) as results:
                yield from map(self._refined, results)

    def _refined(self, result: Transcription) -> Transcription:
        if result.performance is None:
            return result
        start = time.perf_counter()
        performance, error = result.performance, None
        try:
            for refinement in self._refinements:
                performance = refinement(result.recording, performance)
        except AmtError as problem:
            error = problem
        elapsed_s = result.timings.elapsed_s + time.perf_counter() - start
        timings = replace(result.timings, elapsed_s=elapsed_s)
        return replace(
            result, performance=None if error else performance, error=error, timings=timings
        )


def read_velocities(reader: VelocityEngine) -> Refinement:
    """Make what replaces the velocities of a transcription, where it has notes."""

    def refined(recording: Recording, performance: Performance) -> Performance:
        if not performance.notes:
            return performance
        (reading,) = reader.read_velocities([ScoredRecording(recording, performance)])
        if reading.error is not None:
            raise reading.error
        return rewritten(reading)

    return refined


def add_beats(listener: Engine) -> Refinement:
    """Make what adds the beats that a model of beats hears, in the notes or in the recording."""

    def refined(recording: Recording, performance: Performance) -> Performance:
        if isinstance(listener, BeatsOfNotesEngine):
            return replace(performance, beats=listener.hear_beats(performance))
        (heard,) = listener.transcribe([recording])
        if heard.performance is None:
            assert heard.error is not None  # the engine gives one or the other
            raise heard.error
        return replace(performance, beats=heard.performance.beats)

    return refined

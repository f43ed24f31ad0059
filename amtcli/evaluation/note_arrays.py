"""Notes as arrays, the form in which they are compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from amtcli.notes import Note, PedalSpan

# A note without duration still counts as a note; mir_eval refuses it, so it gets this much.
SHORTEST_NOTE_S = 0.001


@dataclass(frozen=True)
class NoteArrays:
    """The notes of one performance, one row each.

    ``intervals``: (n, 2) onset and offset in seconds; ``pitches``: (n,) MIDI numbers;
    ``velocities``: (n,) in the scale in which they are compared.
    """

    intervals: NDArray[np.float64]
    pitches: NDArray[np.float64]
    velocities: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.pitches)

    @property
    def onsets_s(self) -> NDArray[np.float64]:
        """(n,) onsets in seconds."""
        return self.intervals[:, 0]

    @property
    def offsets_s(self) -> NDArray[np.float64]:
        """(n,) offsets in seconds."""
        return self.intervals[:, 1]

    def shifted(self, seconds: float) -> NoteArrays:
        """Move all times later by ``seconds``."""
        return replace(self, intervals=self.intervals + seconds)

    def transposed(self, semitones: int) -> NoteArrays:
        """Raise all pitches by ``semitones``."""
        return replace(self, pitches=self.pitches + semitones)


def arrays_of_notes(notes: Iterable[Note]) -> NoteArrays:
    """Keep the notes in their order; those without duration get ``SHORTEST_NOTE_S``."""
    rows = [(note.onset_s, note.offset_s, note.pitch, note.velocity) for note in notes]
    return _from_rows(rows)


def arrays_of_spans(spans: Iterable[PedalSpan]) -> NoteArrays:
    """Take pedal presses for notes of one pitch, which is how they are matched."""
    return _from_rows([(span.onset_s, span.offset_s, 69, span.value) for span in spans])


def _from_rows(rows: list[tuple[float, float, int, int]]) -> NoteArrays:
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    intervals = table[:, :2].copy()
    empty = intervals[:, 1] <= intervals[:, 0]
    intervals[empty, 1] = intervals[empty, 0] + SHORTEST_NOTE_S
    return NoteArrays(intervals, table[:, 2].copy(), table[:, 3].copy())

"""What is known of a recording: notes, pedals, beats and dynamics, as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from amtcli.notes import DYNAMICS, SUSTAIN_PEDAL, Beat, Note, Performance, sounding_ends_s


@dataclass(frozen=True)
class NoteLabels:
    """Notes in order of onset, one entry each; times in seconds.

    ``offset_s`` is key-up, ``sounding_end_s`` what the sustain pedal makes of it; where a data
    set knows only one of the two, both are equal. ``pitch`` is a MIDI number, ``velocity`` 1-127.
    """

    onset_s: NDArray[np.float64]
    offset_s: NDArray[np.float64]
    sounding_end_s: NDArray[np.float64]
    pitch: NDArray[np.int16]
    velocity: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.pitch)

    def select(self, chosen: NDArray[np.bool_]) -> NoteLabels:
        """Keep the notes where ``chosen`` (n,) is true."""
        return NoteLabels(
            self.onset_s[chosen],
            self.offset_s[chosen],
            self.sounding_end_s[chosen],
            self.pitch[chosen],
            self.velocity[chosen],
        )


@dataclass(frozen=True)
class PedalLabels:
    """Presses of pedals in order of onset; ``controller`` 64 or 67, ``value`` 1-127."""

    onset_s: NDArray[np.float64]
    offset_s: NDArray[np.float64]
    controller: NDArray[np.int16]
    value: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.controller)

    def sustain(self) -> NDArray[np.float64]:
        """Intervals (n, 2) of the sustain pedal, seconds."""
        is_sustain = self.controller == SUSTAIN_PEDAL
        return np.stack([self.onset_s[is_sustain], self.offset_s[is_sustain]], axis=1)


@dataclass(frozen=True)
class BeatLabels:
    """Beats in order of time, seconds.

    ``dynamics`` is an index into `notes.DYNAMICS`, -1 where it is not known.
    """

    time_s: NDArray[np.float64]
    is_downbeat: NDArray[np.bool_]
    dynamics: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.time_s)

    def changes(self) -> NDArray[np.bool_]:
        """Tell of each beat whether its marking begins with it (n,): the last known is another.

        A recording begins as if it had been under ``mf`` before, as in MazurkaBL.
        """
        is_known = self.dynamics >= 0
        places = np.where(is_known, np.arange(len(self)), -1)
        last = np.concatenate([[-1], np.maximum.accumulate(places)[:-1]])[: len(self)]
        before = np.where(last >= 0, self.dynamics[last], DYNAMICS.index("mf"))
        changed: NDArray[np.bool_] = is_known & (before != self.dynamics)
        return changed


@dataclass(frozen=True)
class Labels:
    """All that is known of a recording; ``None`` where a data set does not know it."""

    notes: NoteLabels | None = None
    pedals: PedalLabels | None = None
    beats: BeatLabels | None = None


def labels_of_performance(performance: Performance, *, knows_pedals: bool = True) -> Labels:
    """Turn a performance into labels.

    With ``knows_pedals`` false there was nothing that could have said of pedals, and the ends of
    the notes stand for both key-up and sounding end. Two voices that strike one key together are
    one note, as they are on the piano. A performance without beats is one whose beats nobody knows.
    """
    performance = replace(performance, notes=_unisons_joined(performance.notes))
    order = sorted(
        range(len(performance.notes)),
        key=lambda i: (performance.notes[i].onset_s, performance.notes[i].pitch),
    )
    ends = sounding_ends_s(performance)
    notes = [performance.notes[i] for i in order]
    return Labels(
        NoteLabels(
            np.array([note.onset_s for note in notes], np.float64),
            np.array([note.offset_s for note in notes], np.float64),
            np.array([ends[i] for i in order], np.float64),
            np.array([note.pitch for note in notes], np.int16),
            np.array([note.velocity for note in notes], np.int16),
        ),
        _pedal_labels(performance) if knows_pedals else None,
        beat_labels(performance.beats),
    )


def beat_labels(beats: Sequence[Beat], end_s: float = math.inf) -> BeatLabels | None:
    """Turn the beats before ``end_s`` into labels, None where there are none."""
    beats = [beat for beat in beats if beat.onset_s < end_s]
    if not beats:
        return None
    return BeatLabels(
        np.array([beat.onset_s for beat in beats], np.float64),
        np.array([beat.is_downbeat for beat in beats], np.bool_),
        np.array([_index(beat.dynamics) for beat in beats], np.int8),
    )


def _unisons_joined(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Let strikes of one key at one moment be one note: the loudest, to the latest end."""
    joined: dict[tuple[float, int], Note] = {}
    for note in notes:
        key = (note.onset_s, note.pitch)
        other = joined.get(key, note)
        louder = max(note, other, key=lambda one: one.velocity)
        joined[key] = replace(louder, offset_s=max(note.offset_s, other.offset_s))
    return tuple(joined.values())


def _pedal_labels(performance: Performance) -> PedalLabels:
    spans = sorted(performance.pedals, key=lambda span: (span.onset_s, span.controller))
    return PedalLabels(
        np.array([span.onset_s for span in spans], np.float64),
        np.array([span.offset_s for span in spans], np.float64),
        np.array([span.controller for span in spans], np.int16),
        np.array([span.value for span in spans], np.int16),
    )


def _index(dynamics: str | None) -> int:
    return -1 if dynamics is None else DYNAMICS.index(dynamics)

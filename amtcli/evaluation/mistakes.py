"""What is wrong, note by note: missed, extra, octave and doubled notes with their times."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amtcli.evaluation.matching import Matching
from amtcli.evaluation.note_arrays import NoteArrays

MISSED, EXTRA, OCTAVE, DOUBLED = "missed", "extra", "octave", "doubled"
OCTAVES = (12, 24)
COLUMNS = ("piece", "kind", "onset_s", "offset_s", "pitch", "velocity", "reference_pitch")


@dataclass(frozen=True)
class Mistake:
    """A note of the reference that was missed, or one of the estimate that should not be there.

    ``octave``: a reference note one or two octaves away begins within the tolerance, at
    ``reference_pitch``. ``doubled``: a reference note of the same key does, and is already
    found.
    """

    kind: str
    onset_s: float
    offset_s: float
    pitch: int
    velocity: int
    reference_pitch: int | None = None


def find_mistakes(
    reference: NoteArrays, estimate: NoteArrays, matching: Matching, onset_tolerance_s: float
) -> list[Mistake]:
    """List every unmatched note in order of onset, with what it looks like."""
    missed = np.setdiff1d(np.arange(len(reference)), matching[:, 0])
    extra = np.setdiff1d(np.arange(len(estimate)), matching[:, 1])
    mistakes = [_mistake(reference, i, MISSED) for i in missed.tolist()]
    by_onset = np.argsort(reference.onsets_s, kind="stable")
    onsets_s, pitches = reference.onsets_s[by_onset], reference.pitches[by_onset]
    first = np.searchsorted(onsets_s, estimate.onsets_s - onset_tolerance_s, side="left")
    last = np.searchsorted(onsets_s, estimate.onsets_s + onset_tolerance_s, side="right")
    for j in extra.tolist():
        kind, played = _likeness(int(estimate.pitches[j]), pitches[first[j] : last[j]])
        mistakes.append(_mistake(estimate, j, kind, played))
    return sorted(mistakes, key=lambda mistake: (mistake.onset_s, mistake.pitch))


def _likeness(pitch: int, near: NDArray[np.float64]) -> tuple[str, int | None]:
    """Say what an extra note is, given the reference pitches that begin near it."""
    distances = np.abs(near - pitch)
    if np.any(distances == 0):
        return DOUBLED, pitch
    for octave in OCTAVES:
        if np.any(distances == octave):
            return OCTAVE, int(near[distances == octave][0])
    return EXTRA, None


def _mistake(notes: NoteArrays, i: int, kind: str, reference_pitch: int | None = None) -> Mistake:
    return Mistake(
        kind,
        float(notes.onsets_s[i]),
        float(notes.offsets_s[i]),
        int(notes.pitches[i]),
        round(float(notes.velocities[i])),
        reference_pitch,
    )


def mistakes_csv(pieces: Iterable[tuple[str, Iterable[Mistake]]]) -> str:
    """Write the mistakes of all pieces as one table, times in seconds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, mistakes in pieces:
        writer.writerows(
            [
                name,
                mistake.kind,
                f"{mistake.onset_s:.4f}",
                f"{mistake.offset_s:.4f}",
                mistake.pitch,
                mistake.velocity,
                "" if mistake.reference_pitch is None else mistake.reference_pitch,
            ]
            for mistake in mistakes
        )
    return text.getvalue()

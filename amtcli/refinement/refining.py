"""A score, its recording, and the velocities that go from one into the other.

`prepare` reads both and finds out when the score's notes are heard; a reader answers with
velocities; `refine` makes the new file of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from amtcli.alignment import Alignment, Placement, Times, align, audio_features, warp_score
from amtcli.midi_reading import Score, read_file, read_score, with_velocities
from amtcli.notes import Note, PedalSpan, Performance
from amtcli.refinement.mapping import VelocityMapping, map_velocities


@dataclass(frozen=True)
class Prepared:
    """A score, its file's bytes, where it lies in the recording, and its notes as heard there."""

    name: str
    data: bytes
    score: Score
    placement: Placement
    heard: Performance


@dataclass(frozen=True)
class RefinedNote:
    """A note of the report; ``velocity_read`` is what the recording says, unmapped, if it does."""

    score: str
    index: int
    onset_s: float
    heard_s: float
    pitch: int
    track: int
    channel: int
    velocity_before: int
    velocity_read: float | None
    velocity_after: int


@dataclass(frozen=True)
class Refined:
    """The new file, and what has changed in it."""

    name: str
    data: bytes
    notes: tuple[RefinedNote, ...]
    placement: Placement

    @property
    def mean_change(self) -> float:
        """Mean absolute change of a note's velocity."""
        changes = [abs(note.velocity_after - note.velocity_before) for note in self.notes]
        return sum(changes) / len(changes)


def prepare(
    score_path: Path, audio: Path | BinaryIO | NDArray[Any], name: str, *, warped: bool
) -> Prepared:
    """Read a score and find its notes in the recording, by warping it where that is wanted.

    Raises MidiError, AudioError, or AmtError where the two do not belong together.
    """
    data = read_file(score_path)
    score = read_score(data, str(score_path))
    times = _times(score)
    features = audio_features(audio)
    placement = (warp_score if warped else align)(times, features)
    heard = _heard(score, placement, features.duration_s)
    return Prepared(name, data, score, placement, heard)


def refine(prepared: Prepared, read: NDArray[np.float64], mapping: VelocityMapping) -> Refined:
    """Write velocities read off the recording, (n,) in the score's order, into the file.

    NaN is for a note that the recording says nothing of; it keeps its velocity.
    """
    notes = prepared.score.notes
    if read.shape != (len(notes),) or np.isinf(read).any():
        raise ValueError(f"{len(notes)} finite velocities or NaN are needed, not {read.shape}")
    written = np.array([note.velocity for note in notes], np.float64)
    onsets_s = np.array([note.onset_s for note in notes])
    told = ~np.isnan(read)
    new = written.astype(np.intp)
    new[told] = map_velocities(read[told], written[told], onsets_s[told], mapping)
    data = with_velocities(prepared.data, dict(enumerate(new.tolist())))
    rows = tuple(
        RefinedNote(
            score=prepared.name,
            index=note.index,
            onset_s=round(note.onset_s, 6),
            heard_s=round(heard.onset_s, 6),
            pitch=note.pitch,
            track=note.track,
            channel=note.channel,
            velocity_before=note.velocity,
            velocity_read=None if np.isnan(velocity) else round(float(velocity), 3),
            velocity_after=int(after),
        )
        for note, heard, velocity, after in zip(notes, prepared.heard.notes, read, new, strict=True)
    )
    return Refined(prepared.name, data, rows, prepared.placement)


def describe(placement: Placement) -> str:
    """Say in a few words where a score lies in its recording."""
    if not isinstance(placement, Alignment):
        return "score warped onto the recording"
    if placement.confidence is None:
        return "too short to measure how the score lies, taken as it stands"
    late = "behind" if placement.bias_s >= 0 else "ahead of"
    drift = f", drift {placement.drift:+.3%}" if abs(placement.drift) >= 5e-6 else ""
    return f"recording {abs(placement.bias_s) * 1000:.0f} ms {late} the score{drift}"


def _times(score: Score) -> Times:
    notes = score.notes
    return Times(
        np.array([note.onset_s for note in notes], np.float64),
        np.array([note.offset_s for note in notes], np.float64),
        np.array([note.pitch for note in notes], np.intp),
    )


def _heard(score: Score, placement: Placement, duration_s: float) -> Performance:
    spans: list[Any] = [*score.notes, *score.pedals]
    edges_s = np.array([(span.onset_s, span.offset_s) for span in spans]).reshape(-1, 2)
    # A note that begins a moment before the recording, or ends after it, is heard within it.
    heard_s = np.clip(placement.heard_at(edges_s.ravel()), 0.0, duration_s).reshape(-1, 2)
    of_notes, of_pedals = np.split(heard_s, [len(score.notes)])
    return Performance(
        tuple(
            Note(onset_s, offset_s, note.pitch, note.velocity)
            for note, (onset_s, offset_s) in zip(score.notes, of_notes.tolist(), strict=True)
        ),
        tuple(
            PedalSpan(onset_s, offset_s, pedal.controller, pedal.value)
            for pedal, (onset_s, offset_s) in zip(score.pedals, of_pedals.tolist(), strict=True)
        ),
    )

"""Performances played otherwise than they were, for what music has too little of.

A network that learns from music alone learns music's habits in place of the sound: that octaves
come where others have come, and that a key is rarely struck twice in a tenth of a second. So a
performance is played at another tempo and with other dynamics, and for some stretches notes are
doubled in octaves and struck again and again. Of the stretches, half have no octaves that were
not there, three fifths no repetitions.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from numpy.random import Generator

from amtcli.notes import HIGHEST_PITCH, LOWEST_PITCH, Note, PedalSpan, Performance

_Span = TypeVar("_Span", Note, PedalSpan)

_TEMPO = (0.9, 1.7)
_MIDDLE_VELOCITY = 64
_VELOCITY_SLOPE = (0.8, 1.4)
_VELOCITY_SHIFT = (-22.0, 6.0)  # soft notes are what is missed
_VELOCITY_SPREAD = 3.0
_SOFTEST, _LOUDEST = 6, 122

_STRETCH_S = 8.0
_DOUBLED_SHARES = (0.0, 0.0, 0.15, 0.35)
_REPEATED_SHARES = (0.0, 0.0, 0.0, 0.25, 0.6)
_ALTERNATING_SHARES = (0.0, 0.5)

_INTERVALS = (-12, -12, -12, 12, 12, -24, 19, 24)
_DOUBLE_SOFTER, _DOUBLE_SPREAD = 5, 9.0
_DOUBLE_JITTER_S = 0.006
_REST_S = 0.03  # of a key between two notes, at least

_REPEATED_FROM_S = 0.22
_PERIOD_S = (0.085, 0.2)
_UP_S = (0.015, 0.05)
_MOST_STROKES = 13
_STROKE_SPREAD = 6.0


@dataclass(frozen=True)
class _Stretch:
    """Shares of the notes that begin in it."""

    doubled: float
    repeated: float
    alternating: float


def vary(performance: Performance, rng: Generator) -> Performance:
    """Play at another tempo and loudness, with octaves and repeated notes that were not there.

    What is added has pitches 21-108; all velocities are 6-122. Pedals and beats only take the
    tempo. Notes stay in order of onset.
    """
    slowest, fastest = (math.log(tempo) for tempo in _TEMPO)
    performance = _at_tempo(performance, math.exp(rng.uniform(slowest, fastest)))
    notes = _with_dynamics(performance.notes, rng)
    end_s = max((note.onset_s for note in notes), default=0.0)
    stretches = [_draw_stretch(rng) for _ in range(int(end_s / _STRETCH_S) + 1)]
    keyboard = _Keyboard(notes)
    played: list[Note] = []
    for note in notes:
        stretch = stretches[int(note.onset_s / _STRETCH_S)]
        voices = [note]
        if rng.random() < stretch.doubled and (double := keyboard.double(note, rng)):
            voices.append(double)
        played += _repeated(voices, stretch, rng)
    return replace(performance, notes=tuple(sorted(played, key=lambda n: (n.onset_s, n.pitch))))


def _at_tempo(performance: Performance, tempo: float) -> Performance:
    def moved(span: _Span) -> _Span:
        return replace(span, onset_s=span.onset_s / tempo, offset_s=span.offset_s / tempo)

    return Performance(
        tuple(moved(note) for note in performance.notes),
        tuple(moved(pedal) for pedal in performance.pedals),
        tuple(replace(beat, onset_s=beat.onset_s / tempo) for beat in performance.beats),
    )


def _with_dynamics(notes: Iterable[Note], rng: Generator) -> list[Note]:
    slope, shift = rng.uniform(*_VELOCITY_SLOPE), rng.uniform(*_VELOCITY_SHIFT)
    return [
        replace(
            note,
            velocity=_velocity(
                _MIDDLE_VELOCITY + slope * (note.velocity - _MIDDLE_VELOCITY) + shift,
                _VELOCITY_SPREAD,
                rng,
            ),
        )
        for note in notes
    ]


def _velocity(mean: float, spread: float, rng: Generator) -> int:
    return min(max(round(rng.normal(mean, spread)), _SOFTEST), _LOUDEST)


def _draw_stretch(rng: Generator) -> _Stretch:
    return _Stretch(
        float(rng.choice(_DOUBLED_SHARES)),
        float(rng.choice(_REPEATED_SHARES)),
        float(rng.choice(_ALTERNATING_SHARES)),
    )


class _Keyboard:
    """Which keys are down when."""

    def __init__(self, notes: Iterable[Note]) -> None:
        self._notes: dict[int, list[Note]] = defaultdict(list)
        for note in notes:
            self._notes[note.pitch].append(note)

    def double(self, note: Note, rng: Generator) -> Note | None:
        """Press a key some octaves away along with a note, or none where that key is in use."""
        pitch = note.pitch + int(rng.choice(_INTERVALS))
        onset_s = max(note.onset_s + rng.normal(0, _DOUBLE_JITTER_S), 0.0)
        velocity = _velocity(note.velocity - _DOUBLE_SOFTER, _DOUBLE_SPREAD, rng)
        if not LOWEST_PITCH <= pitch <= HIGHEST_PITCH or note.offset_s - onset_s < _REST_S:
            return None
        double = Note(onset_s, note.offset_s, pitch, velocity)
        if any(_collide(double, other) for other in self._notes[pitch]):
            return None
        self._notes[pitch].append(double)
        return double


def _collide(first: Note, second: Note) -> bool:
    return first.onset_s < second.offset_s + _REST_S and second.onset_s < first.offset_s + _REST_S


def _repeated(voices: list[Note], stretch: _Stretch, rng: Generator) -> list[Note]:
    """Strike notes again as long as they lasted, two of them in turns now and then, or do not."""
    length_s = voices[0].offset_s - voices[0].onset_s
    if length_s < _REPEATED_FROM_S or rng.random() >= stretch.repeated:
        return voices
    period_s, up_s = rng.uniform(*_PERIOD_S), rng.uniform(*_UP_S)
    n_strokes = min(int(length_s / period_s), int(rng.integers(2, _MOST_STROKES + 1)))
    in_turns = len(voices) > 1 and rng.random() < stretch.alternating
    return [
        stroke
        for index, voice in enumerate(voices)
        for stroke in _strokes(
            voice, period_s, up_s, n_strokes, period_s / 2 if in_turns and index else 0.0, rng
        )
    ]


def _strokes(
    voice: Note, period_s: float, up_s: float, n_strokes: int, later_s: float, rng: Generator
) -> list[Note]:
    """Strike a key every ``period_s``; the last stroke lasts as long as the note did."""
    strokes = []
    for index in range(n_strokes):
        onset_s = voice.onset_s + later_s + index * period_s
        offset_s = onset_s + period_s - up_s
        if index == n_strokes - 1:
            offset_s = voice.offset_s
        velocity = _velocity(voice.velocity, _STROKE_SPREAD, rng)
        strokes.append(replace(voice, onset_s=onset_s, offset_s=offset_s, velocity=velocity))
    return strokes

"""What was played: notes, pedal spans and beats, in seconds, MIDI numbers and MIDI velocities."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate

LOWEST_PITCH, HIGHEST_PITCH = 21, 108  # of a piano
N_KEYS = HIGHEST_PITCH - LOWEST_PITCH + 1

SUSTAIN_PEDAL = 64
SOFT_PEDAL = 67

DYNAMICS = ("pp", "p", "mf", "f", "ff")
"""Names of the dynamic classes, softest first."""


@dataclass(frozen=True, slots=True)
class Note:
    """One key pressed and released.

    ``pitch`` is a MIDI number (0-127), ``velocity`` a MIDI velocity (1-127); ``onset_s`` and
    ``offset_s`` are key-down and key-up in seconds. ``confidence`` is the network's own
    probability for the note in 0-1, where it has one.
    """

    onset_s: float
    offset_s: float
    pitch: int
    velocity: int
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class PedalSpan:
    """One press of a pedal: controller 64 (sustain) or 67 (soft), held at ``value`` (1-127)."""

    onset_s: float
    offset_s: float
    controller: int
    value: int = 127


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat of the metre, at ``onset_s`` seconds.

    ``dynamics`` is the marking under which it is played, one of DYNAMICS, None where that is not
    known; ``is_change`` says that this marking begins with it. ``confidence`` is the network's
    own probability for a beat here in 0-1, where it has one.
    """

    onset_s: float
    is_downbeat: bool = False
    dynamics: str | None = None
    is_change: bool = False
    confidence: float | None = None


Event = Note | PedalSpan | Beat


@dataclass(frozen=True, slots=True)
class Performance:
    """All that was played in one recording, each tuple in order of onset."""

    notes: tuple[Note, ...] = ()
    pedals: tuple[PedalSpan, ...] = ()
    beats: tuple[Beat, ...] = ()


def sounding_ends_s(performance: Performance) -> list[float]:
    """When each note stops sounding: key-up, or the release of a sustain pedal held then.

    A pedal pressed after key-up holds nothing. A key struck again ends what the pedal held of
    its earlier note, as on the instrument; no note ends before its key-up. One value per note,
    in the order of ``performance.notes`` (which may be any), seconds.
    """
    spans = sorted(
        (span for span in performance.pedals if span.controller == SUSTAIN_PEDAL),
        key=lambda span: span.onset_s,
    )
    starts = [span.onset_s for span in spans]
    released_s = list(accumulate((span.offset_s for span in spans), max))  # spans may overlap
    next_onset_s: dict[int, float] = {}
    ends = [0.0] * len(performance.notes)
    order = sorted(range(len(performance.notes)), key=lambda i: -performance.notes[i].onset_s)
    for i in order:
        note = performance.notes[i]
        held = bisect_right(starts, note.offset_s) - 1
        end = released_s[held] if held >= 0 else note.offset_s
        limit = next_onset_s.get(note.pitch, float("inf"))
        ends[i] = max(note.offset_s, min(end, limit))
        next_onset_s[note.pitch] = note.onset_s
    return ends


def extend_by_pedal(performance: Performance) -> Performance:
    """Return the performance with every note held to its sounding end."""
    ends = sounding_ends_s(performance)
    notes = tuple(
        replace(note, offset_s=end) for note, end in zip(performance.notes, ends, strict=True)
    )
    return replace(performance, notes=notes)

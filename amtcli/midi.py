"""Performances to MIDI files, by mido; `amtcli.midi_reading` reads them.

mido rather than pretty_midi, which is built on it: pretty_midi cuts the tempo to whole
microseconds, and cannot read back what is longer than ten million ticks.

Seconds are the truth and ticks follow from them: each time is rounded to the nearest tick by
itself, so that no error adds up over a recording, and neither ``--tempo`` nor beats move a note.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Literal, get_args

import mido

from amtcli import __version__
from amtcli.errors import MidiError, UsageError
from amtcli.notes import Beat, Event, Note, PedalSpan, Performance, extend_by_pedal
from amtcli.tempo_map import TempoMap, tempo_map

PedalMode = Literal["cc64", "extend", "none"]
PEDAL_MODES: tuple[PedalMode, ...] = get_args(PedalMode)

MIDI_SUFFIXES = frozenset({".mid", ".midi", ".kar", ".rmi"})

MIN_TEMPO_BPM = 4.0  # a quarter note of 16.7 s is the longest that a MIDI file can state
MAX_TEMPO_BPM = 1000.0

_RELEASE_VELOCITY = 64  # MIDI 1.0: of a keyboard that does not sense it
_LONGEST_DELTA = 0xFFFFFFF  # ticks between two messages: a file has four times seven bits

# What happens first within one tick. A pedal pressed with the key's release still holds the
# note (as in notes.sounding_ends_s), and a key comes up before it is struck again.
_PEDAL_UP_RANK, _PEDAL_DOWN_RANK, _NOTE_OFF_RANK, _NOTE_ON_RANK = range(4)

_Span = tuple[int, int, int]  # first tick, last tick, velocity or pedal value
_Event = tuple[int, int, int, int]  # tick, rank, pitch or controller, velocity or pedal value


def performance_to_midi_bytes(
    performance: Performance,
    *,
    tempo_bpm: float = 120.0,
    pedal: PedalMode = "cc64",
    model_id: str | None = None,
) -> bytes:
    """Return a format 1 MIDI file: a track of tempo and meter, and a track of piano.

    At 120 BPM a quarter note has 480 ticks of 1.04 ms. A slower tempo gets more ticks per
    quarter, so that a tick never grows, and notes stay where they are, within half a tick.

    Where the performance has two beats or more, they win over ``tempo_bpm``: each begins a
    quarter note and each downbeat a bar, see `tempo_map.tempo_map`. Dynamics become markers
    ("mf"), one at the first beat that has them and one at each beat where they change.

    A note ends at the latest where the same key is struck again and is at least one tick long.
    Two notes of one pitch in the same tick are one strike: the louder velocity and the later
    end stay. Velocities and pedal values are limited to 1-127.

    Parameters
    ----------
    tempo_bpm
        Quarter notes per minute, 4 to 1000. Does not apply where beats set the tempo.
    pedal
        ``"cc64"`` writes controllers 64 and 67, value at the start of a span and 0 at its end,
        and notes end at key-up; ``"extend"`` writes no pedal and holds notes to their sounding
        end; ``"none"`` writes no pedal and notes end at key-up.
    model_id
        Name and version of the model, for a text event.

    Raises
    ------
    UsageError
        The tempo or the pedal mode is not one of those above.
    MidiError
        A pitch lies outside 0-127, or a time is not a finite number.
    """
    check_midi_options(tempo_bpm, pedal)
    _check_performance(performance)
    grid = tempo_map(performance.beats, tempo_bpm)
    if pedal == "extend":
        performance = extend_by_pedal(performance)
    events = _note_events(performance.notes, grid)
    if pedal == "cc64":
        events += _pedal_events(performance.pedals, grid)
    events.sort()
    conductor = _conductor_messages(performance.beats, grid, model_id)
    midi = mido.MidiFile(
        type=1,
        ticks_per_beat=grid.ticks_per_quarter,
        tracks=[_timed(conductor), _timed(_piano_messages(events))],
    )
    file = io.BytesIO()
    midi.save(file=file)
    return file.getvalue()


def check_midi_options(tempo_bpm: float, pedal: str) -> None:
    """Raise UsageError unless `performance_to_midi_bytes` can follow both."""
    if not MIN_TEMPO_BPM <= tempo_bpm <= MAX_TEMPO_BPM:
        raise UsageError(
            f"a tempo of {tempo_bpm:g} BPM cannot be written: "
            f"choose one from {MIN_TEMPO_BPM:g} to {MAX_TEMPO_BPM:g}"
        )
    if pedal not in PEDAL_MODES:
        raise UsageError(f"unknown pedal mode {pedal!r}: choose from {', '.join(PEDAL_MODES)}")


def _check_performance(performance: Performance) -> None:
    for note in performance.notes:
        if not 0 <= note.pitch <= 127:
            raise MidiError(
                f"the note at {note.onset_s:.3f} s has pitch {note.pitch}: MIDI has 0 to 127"
            )
    events: tuple[Event, ...] = (*performance.notes, *performance.pedals, *performance.beats)
    for event in events:
        offset_s = event.onset_s if isinstance(event, Beat) else event.offset_s
        if not (math.isfinite(event.onset_s) and math.isfinite(offset_s)):
            raise MidiError(f"a time is not a finite number, and cannot be written: {event}")


def _note_events(notes: Iterable[Note], grid: TempoMap) -> list[_Event]:
    by_pitch: dict[int, list[_Span]] = {}
    for note in notes:
        span = (grid.ticks(note.onset_s), grid.ticks(note.offset_s), _limit(note.velocity))
        by_pitch.setdefault(int(note.pitch), []).append(span)
    events: list[_Event] = []
    for pitch, spans in by_pitch.items():
        for start, end, velocity in _separate(spans):
            events.append((start, _NOTE_ON_RANK, pitch, velocity))
            events.append((end, _NOTE_OFF_RANK, pitch, _RELEASE_VELOCITY))
    return events


def _pedal_events(pedals: Iterable[PedalSpan], grid: TempoMap) -> list[_Event]:
    by_controller: dict[int, list[_Span]] = {}
    for pedal in sorted(pedals, key=lambda pedal: pedal.onset_s):
        span = (grid.ticks(pedal.onset_s), grid.ticks(pedal.offset_s), _limit(pedal.value))
        by_controller.setdefault(pedal.controller, []).append(span)
    events: list[_Event] = []
    for controller, spans in by_controller.items():
        # Unlike a key, a pedal stays down as long as any of its spans does.
        ends = accumulate((end for _, end, _ in spans), max)
        held = [(start, end, value) for (start, _, value), end in zip(spans, ends, strict=True)]
        for start, end, value in _separate(held):
            events.append((start, _PEDAL_DOWN_RANK, controller, value))
            events.append((end, _PEDAL_UP_RANK, controller, 0))
    return events


def _separate(spans: list[_Span]) -> list[_Span]:
    """Spans of one key, none empty, each ending at the latest where the next one starts."""
    merged: list[_Span] = []
    for start, end, value in sorted(spans):
        if merged and merged[-1][0] == start:
            start, last_end, last_value = merged.pop()
            end, value = max(end, last_end), max(value, last_value)
        merged.append((start, end, value))
    # Starts differ by a tick or more here, so the shortest note never reaches the next start.
    limits = [start for start, _, _ in merged[1:]] + [math.inf]
    return [
        (start, int(min(max(end, start + 1), limit)), value)
        for (start, end, value), limit in zip(merged, limits, strict=True)
    ]


def _limit(value: int) -> int:
    return min(127, max(1, int(value)))


def _conductor_messages(
    beats: Iterable[Beat], grid: TempoMap, model_id: str | None
) -> list[tuple[int, Any]]:
    """Pairs of tick and message, in order."""
    origin = f"amt {__version__}" + (f", model {model_id}" if model_id else "")
    messages = [(0, mido.MetaMessage("text", text=_text(origin)))]
    messages += [(tick, mido.MetaMessage("set_tempo", tempo=us)) for tick, us in grid.tempi()]
    messages += [
        (tick, mido.MetaMessage("time_signature", numerator=size, denominator=4))
        for tick, size in grid.meters
    ]
    messages += [
        (grid.ticks(time_s), mido.MetaMessage("marker", text=_text(dynamics)))
        for time_s, dynamics in _dynamics(beats)
    ]
    return sorted(messages, key=lambda message: message[0])


def _dynamics(beats: Iterable[Beat]) -> Iterator[tuple[float, str]]:
    """When dynamics begin, and which; what is not known changes nothing."""
    last = None
    for beat in sorted(beats, key=lambda beat: beat.onset_s):
        if beat.dynamics is not None and beat.dynamics != last:
            yield beat.onset_s, beat.dynamics
            last = beat.dynamics


def _piano_messages(events: Iterable[_Event]) -> Iterator[tuple[int, Any]]:
    """Pairs of tick and message, in order."""
    # mido only iterates a track when it saves: made one by one, the messages of a recording of
    # eight hours take no quarter of a gigabyte.
    yield 0, mido.MetaMessage("track_name", name="Piano")
    yield 0, mido.Message("program_change", program=0)
    for tick, rank, number, value in events:
        if rank in (_PEDAL_UP_RANK, _PEDAL_DOWN_RANK):
            yield tick, mido.Message("control_change", control=number, value=value)
        else:
            kind = "note_on" if rank == _NOTE_ON_RANK else "note_off"
            yield tick, mido.Message(kind, note=number, velocity=value)


def _timed(messages: Iterable[tuple[int, Any]]) -> Iterator[Any]:
    """Each message with its distance from the one before it."""
    last_tick = 0
    for tick, message in messages:
        # Fast beats beside a very slow one make so many ticks that a file cannot state an hour's
        # rest at once.
        while tick - last_tick > _LONGEST_DELTA:
            yield mido.MetaMessage("text", time=_LONGEST_DELTA)
            last_tick += _LONGEST_DELTA
        message.time, last_tick = tick - last_tick, tick
        yield message


def _text(text: str) -> str:
    # mido writes Latin-1 unless a process-wide setting is changed; this makes UTF-8 of it.
    return text.encode("utf-8", "replace").decode("latin-1")

"""MIDI files to notes and pedals, and where in the file each note's velocity stands.

Of a score only velocities are ever written back, one byte each at its own place, so that
everything else of a user's file stays what it is: tempo map, meters, tracks, channels, programs,
controllers, text, ticks, running status or not, even bytes that no program reads. Libraries do
not say where a byte stood: mido writes anew and refuses files for a key signature that it does
not know; pretty_midi, besides, reads nothing beyond ten million ticks, looks for tempo changes in
the first track only and drops notes that are never released.

Times follow from the file's tempo map, or from its frames per second where it counts in SMPTE
time. The drums of channel 10 are no notes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from amtcli.errors import MidiError
from amtcli.notes import SOFT_PEDAL, SUSTAIN_PEDAL, Note, PedalSpan, Performance

PEDAL_DOWN = 64  # MIDI 1.0: a switch controller is on from 64

_NOTE_OFF, _NOTE_ON, _CONTROL_CHANGE = 0x80, 0x90, 0xB0
_N_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_SYSEX, _SYSEX_CONTINUED, _META = 0xF0, 0xF7, 0xFF
_END_OF_TRACK, _SET_TEMPO = 0x2F, 0x51
_QUARTER_AT_120_BPM_US = 500_000
_PEDALS = (SUSTAIN_PEDAL, SOFT_PEDAL)
_DRUM_CHANNEL = 9  # "channel 10" where channels are counted from 1
_LONGEST_QUANTITY = 4  # bytes of a variable-length quantity
_CUT_OFF = "is cut off: copy or export it again"

_Key = tuple[int, int, int]  # track, channel, pitch


@dataclass(frozen=True, slots=True)
class ScoreNote:
    """One note-on of the score and the release that ends it.

    ``index`` is its place in `Score.notes`, ``velocity_at`` that of its velocity byte in the
    file. ``onset_s`` and ``offset_s`` are key-down and key-up, in seconds of the score's clock.
    """

    index: int
    onset_s: float
    offset_s: float
    pitch: int
    velocity: int
    track: int
    channel: int
    velocity_at: int


@dataclass(frozen=True, slots=True)
class Score:
    """The notes in order of (onset, pitch), the pedal spans, and when the last event is.

    ``n_drums`` counts the strikes of channel 10, which are no notes.
    """

    notes: tuple[ScoreNote, ...]
    pedals: tuple[PedalSpan, ...]
    end_s: float
    n_drums: int = 0

    def performance(self) -> Performance:
        """Forget where things stand; strikes of one key in one tick become one, the loudest."""
        loudest: dict[tuple[float, float, int, int, int], Note] = {}
        for note in self.notes:
            key = (note.onset_s, note.offset_s, note.pitch, note.track, note.channel)
            if key not in loudest or note.velocity > loudest[key].velocity:
                loudest[key] = Note(note.onset_s, note.offset_s, note.pitch, note.velocity)
        return Performance(tuple(loudest.values()), self.pedals)


class _Event(NamedTuple):
    """A note or controller message; ``value_at`` is the place of its last byte in the file."""

    tick: int
    track: int
    kind: int
    channel: int
    number: int
    value: int
    value_at: int


@dataclass(frozen=True, slots=True)
class _Track:
    events: list[_Event]
    tempi: list[tuple[int, int]]  # tick, microseconds per quarter
    end_tick: int


class _DamageError(Exception):
    """What is wrong with the bytes, in words, with the place where it was seen."""


def read_file(path: Path) -> bytes:
    """Read a MIDI file whole. Raises MidiError where the system refuses."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise MidiError(f"{path} cannot be read: {error.strerror}") from error


def read_performance(source: str | Path | BinaryIO) -> Performance:
    """Read the notes and pedals of a MIDI file as `read_score`, in order of (onset, pitch).

    Raises
    ------
    MidiError
        The source cannot be read, or as `read_score`.
    """
    if isinstance(source, str | Path):
        return read_score(read_file(Path(source)), str(source)).performance()
    name = str(getattr(source, "name", "the MIDI data"))
    return read_score(source.read(), name).performance()


def read_score(
    data: bytes, name: str = "the MIDI data", *, sustain_down_from: int = PEDAL_DOWN
) -> Score:
    """Read the notes and pedals of a MIDI file of format 0 or 1, also inside RIFF (.rmi).

    Every note-on with a velocity is a note: also one that is struck in the same tick as another
    of its key, and one that is released in the tick of its onset. A key struck again while it
    is down ends its earlier note, the first release ends the note, and what is never released
    ends with the file. Tracks and channels are read together, but for the drums of channel 10.
    The soft pedal (controller 67) is down from 64 on, the sustain pedal (64) from
    ``sustain_down_from``, in any channel; a span carries the largest value that it reached.

    Raises
    ------
    MidiError
        The bytes are no MIDI file, of format 2, damaged or cut off; ``name`` says which.
    """
    try:
        division, tracks = _read_tracks(data)
    except _DamageError as damage:
        raise MidiError(f"{name} {damage}") from None
    clock = _Clock(division, (tempo for track in tracks for tempo in track.tempi))
    everything = [event for track in tracks for event in track.events]
    drums = [event for event in everything if event.channel == _DRUM_CHANNEL]
    n_drums = sum(event.kind == _NOTE_ON and event.value > 0 for event in drums)
    events = [event for event in everything if event.channel != _DRUM_CHANNEL]
    events.sort(key=attrgetter("tick"))
    end_tick = max((track.end_tick for track in tracks), default=0)
    spans = _pair(events, end_tick)
    spans.sort(key=lambda span: (span[0].tick, span[0].number))
    notes = tuple(
        ScoreNote(
            index=index,
            onset_s=clock.seconds(on.tick),
            offset_s=clock.seconds(off_tick),
            pitch=on.number,
            velocity=on.value,
            track=on.track,
            channel=on.channel,
            velocity_at=on.value_at,
        )
        for index, (on, off_tick) in enumerate(spans)
    )
    down_from = {SUSTAIN_PEDAL: sustain_down_from, SOFT_PEDAL: PEDAL_DOWN}
    pedals = _pedals(events, end_tick, clock, down_from)
    return Score(notes, pedals, clock.seconds(end_tick), n_drums)


def with_velocities(data: bytes, velocities: Mapping[int, int]) -> bytes:
    """Return the file with new velocities, one byte changed for each; all others stay.

    ``velocities`` maps indices into `Score.notes` to 1-127. Raises ValueError for a velocity
    outside that (0 would turn the note into a release) and for an index that is no note's, and
    MidiError as `read_score`.
    """
    notes = read_score(data).notes
    edited = bytearray(data)
    for index, velocity in velocities.items():
        if not 0 <= index < len(notes):
            raise ValueError(f"there is no note {index}: the score has {len(notes)}")
        if not 1 <= velocity <= 127:
            raise ValueError(f"note {index}: velocity {velocity} does not lie in 1-127")
        edited[notes[index].velocity_at] = velocity
    return bytes(edited)


class _Clock:
    """Ticks to seconds. ``division`` is the header's; ``tempi`` may come in any order."""

    def __init__(self, division: int, tempi: Iterable[tuple[int, int]]) -> None:
        if division & 0x8000:
            # SMPTE time: minus the frames per second in the high byte, ticks per frame below.
            frames_per_s = 0x100 - (division >> 8)
            exact = 30_000 / 1001 if frames_per_s == 29 else frames_per_s
            self._ticks, self._starts_s = [0], [0.0]
            self._tick_s = [1 / (exact * (division & 0xFF))]
            return
        self._ticks, self._starts_s = [0], [0.0]
        self._tick_s = [_QUARTER_AT_120_BPM_US / 1e6 / division]
        for tick, quarter_us in sorted(tempi, key=itemgetter(0)):
            self._starts_s.append(self.seconds(tick))
            self._ticks.append(tick)
            self._tick_s.append(quarter_us / 1e6 / division)

    def seconds(self, tick: int) -> float:
        """When a tick is."""
        # The last of several tempi in one tick holds.
        stretch = bisect_right(self._ticks, tick) - 1
        since = tick - self._ticks[stretch]
        return self._starts_s[stretch] + since * self._tick_s[stretch]


class _Cursor:
    """Reads bytes of a chunk; what lies beyond its end is not there."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data = data
        self.at = at
        self.end = end

    def byte(self) -> int:
        if self.at >= self.end:
            raise _DamageError(f"is damaged: an event runs out of its track at byte {self.at}")
        self.at += 1
        return self._data[self.at - 1]

    def data_byte(self) -> int:
        value = self.byte()
        if value > 127:
            raise _DamageError(f"is damaged: a data byte is {value} at byte {self.at - 1}")
        return value

    def quantity(self) -> int:
        """Read a number of variable length: seven bits per byte, the last below 128."""
        value = 0
        for _ in range(_LONGEST_QUANTITY):
            byte = self.byte()
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        raise _DamageError(f"is damaged: a number has no end at byte {self.at}")

    def bytes(self, n_bytes: int) -> bytes:
        if self.at + n_bytes > self.end:
            raise _DamageError(f"is damaged: an event runs out of its track at byte {self.at}")
        self.at += n_bytes
        return self._data[self.at - n_bytes : self.at]


def _read_tracks(data: bytes) -> tuple[int, list[_Track]]:
    """Return the header's division and all tracks."""
    first_chunk, n_tracks, division = _read_header(data)
    chunks = islice(_track_chunks(data, first_chunk), n_tracks)
    tracks = [
        _read_track(_Cursor(data, first, end), index) for index, (first, end) in enumerate(chunks)
    ]
    if len(tracks) < n_tracks:
        raise _DamageError(_CUT_OFF)
    return division, tracks


def _read_header(data: bytes) -> tuple[int, int, int]:
    """Return where the first chunk begins, how many tracks there are, and the division."""
    if not data:
        raise _DamageError("is empty: there is no MIDI in it")
    start = max(data.find(b"MThd"), 0) if data.startswith(b"RIFF") else 0
    if not data.startswith(b"MThd", start):
        raise _DamageError("is not a MIDI file: it does not begin with MThd")
    if len(data) < start + 14:
        raise _DamageError(_CUT_OFF)
    fields = data[start + 8 : start + 14]
    kind, n_tracks, division = (int.from_bytes(fields[i : i + 2], "big") for i in (0, 2, 4))
    if kind == 2:
        raise _DamageError(
            "holds independent patterns (MIDI format 2), which no recording follows: "
            "export it as format 0 or 1"
        )
    if kind > 2:
        raise _DamageError(f"is damaged: it says that it is of MIDI format {kind}")
    if not division or (division & 0x8000 and not division & 0xFF):
        raise _DamageError("is damaged: it states a time unit of no length")
    return start + 8 + int.from_bytes(data[start + 4 : start + 8], "big"), n_tracks, division


def _track_chunks(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Where the contents of each track begin and end; chunks of other kinds are passed over."""
    while at + 8 <= len(data):
        kind = data[at : at + 4]
        first = at + 8
        at = first + int.from_bytes(data[at + 4 : first], "big")
        if kind == b"MTrk":
            if at > len(data):
                raise _DamageError(_CUT_OFF)
            yield first, at


def _read_track(cursor: _Cursor, index: int) -> _Track:
    track = _Track([], [], 0)
    tick, running = 0, 0
    while cursor.at < cursor.end:
        tick += cursor.quantity()
        status = cursor.byte()
        if status == _META:
            kind = cursor.byte()
            content = cursor.bytes(cursor.quantity())
            if kind == _END_OF_TRACK:
                break
            if kind == _SET_TEMPO and len(content) == 3 and any(content):
                track.tempi.append((tick, int.from_bytes(content, "big")))
        elif status in (_SYSEX, _SYSEX_CONTINUED):
            cursor.bytes(cursor.quantity())
        elif status > _SYSEX:
            raise _DamageError(f"is damaged: an unknown event at byte {cursor.at - 1}")
        else:
            if status >= 0x80:
                running = status
            elif running:
                # The standard ends running status at meta events and system exclusive data;
                # programs that go on with it after those are understood all the same.
                cursor.at -= 1
            else:
                raise _DamageError(f"is damaged: data without status at byte {cursor.at - 1}")
            event = _channel_event(cursor, running, tick, index)
            if event is not None:
                track.events.append(event)
    return _Track(track.events, track.tempi, tick)


def _channel_event(cursor: _Cursor, status: int, tick: int, track: int) -> _Event | None:
    """Read the data of a channel message; None for those that say nothing of notes or pedals."""
    kind, channel = status & 0xF0, status & 0x0F
    number = cursor.data_byte()
    if _N_DATA_BYTES[kind] == 1:
        return None
    value = cursor.data_byte()
    is_wanted = number in _PEDALS if kind == _CONTROL_CHANGE else kind in (_NOTE_OFF, _NOTE_ON)
    if not is_wanted:
        return None
    return _Event(tick, track, kind, channel, number, value, cursor.at - 1)


def _pair(events: Iterable[_Event], end_tick: int) -> list[tuple[_Event, int]]:
    """Each note-on with the tick in which it ends."""
    spans: list[tuple[_Event, int]] = []
    down: dict[_Key, list[_Event]] = {}  # several only where struck in one tick
    restruck: dict[_Key, int] = {}
    for event in events:
        if event.kind == _CONTROL_CHANGE:
            continue
        key = (event.track, event.channel, event.number)
        held = down.get(key, [])
        began_now = bool(held) and held[0].tick == event.tick
        if event.kind == _NOTE_ON and event.value > 0:
            if held and not began_now:
                spans += [(on, event.tick) for on in held]
                restruck[key] = event.tick
                held = []
            down[key] = [*held, event]
        elif began_now and restruck.get(key) == event.tick:
            # Some recorders write the new onset before the old release of the same tick.
            del restruck[key]
        else:
            spans += [(on, event.tick) for on in held]
            down[key] = []
    return spans + [(on, end_tick) for held in down.values() for on in held]


def _pedals(
    events: list[_Event], end_tick: int, clock: _Clock, down_from: Mapping[int, int]
) -> tuple[PedalSpan, ...]:
    spans: list[PedalSpan] = []
    for controller, threshold in down_from.items():
        changes = [e for e in events if e.kind == _CONTROL_CHANGE and e.number == controller]
        down: dict[int, int] = {}  # values of the channels in which the pedal is down
        onset_tick, peak = 0, 0
        for event in changes:
            if event.value >= threshold:
                if not down:
                    onset_tick, peak = event.tick, 0
                down[event.channel] = event.value
                peak = max(peak, event.value)
            elif down.pop(event.channel, None) and not down:
                on_s, off_s = clock.seconds(onset_tick), clock.seconds(event.tick)
                spans.append(PedalSpan(on_s, off_s, controller, peak))
        if down:
            on_s, off_s = clock.seconds(onset_tick), clock.seconds(end_tick)
            spans.append(PedalSpan(on_s, off_s, controller, peak))
    return tuple(sorted(spans, key=lambda span: (span.onset_s, span.controller)))

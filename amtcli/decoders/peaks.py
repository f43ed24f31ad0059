"""Notes and pedals from regressed onsets and offsets, for frames that are long.

Heads are those of Kong et al. (IEEE/ACM TASLP 2021): triangles around the true times, whose three
highest values tell where between the frames it lies. Their rule (``regression``) is made for
frames of 10 ms; where frames are 20 or 25 ms long, its peaks are too wide for a key struck twice
in a tenth of a second, and its notes end a frame before their key is struck again. Here a peak is
higher than its neighbours, and a note ends with its first offset peak, when its frames fall
silent, or with the next stroke of its key, whichever comes first. One frame ahead is all it needs.
The pedal's presses are divided where notes end (``pedal_presses``).
Velocities are counted from the mean level of all frames in which anything sounds, so notes are
held back until the recording ends; live, from the mean so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from amtcli.decoders.frame_stream import FrameStream, Stretch, whole
from amtcli.decoders.note_states import NoteOn
from amtcli.decoders.pedal_presses import PedalPresses, Press
from amtcli.decoders.regression import N_COLUMNS, VELOCITY_SCALE, RegressionActivations
from amtcli.notes import LOWEST_PITCH, N_KEYS, SUSTAIN_PEDAL, Note, PedalSpan
from amtcli.windows import WindowSpec

CONTEXT_FRAMES = 1
Event = NoteOn | Note | PedalSpan

SHORTEST_FRAMES = 2  # a note's frames rise with its onset: they cannot have fallen silent before


@dataclass(frozen=True)
class PeaksConfig:
    """Thresholds, and the clock of the frames.

    onset_threshold, offset_threshold, pedal_offset_threshold: a peak counts from this on.
    frame_threshold, pedal_frame_threshold: below this a note or pedal has fallen silent.
    longest_note_s: a note that has not ended by then is ended.
    """

    sample_rate_hz: int
    hop_samples: int
    onset_threshold: float
    offset_threshold: float
    frame_threshold: float
    pedal_offset_threshold: float
    pedal_frame_threshold: float
    longest_note_s: float

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_samples / self.sample_rate_hz


class PeaksDecoder:
    """Feed it the windows of one recording in order, or push them, live.

    Fed, it gives out pedals as they end, and all notes when it is closed.
    """

    def __init__(self, config: PeaksConfig, window: WindowSpec) -> None:
        self._stream = FrameStream(window, config.hop_samples, N_COLUMNS, CONTEXT_FRAMES)
        self._scan = _Scan(config)
        self._held: list[_Ended] = []
        self._announced: dict[int, int] = {}  # velocities of notes that have begun, by pitch

    def feed(self, activations: RegressionActivations | None) -> list[Note | PedalSpan]:
        """Take the next window (None: one without any sound), return the pedals that have ended."""
        events = self._scan.push(self._next(activations))
        self._held += (event for event in events if isinstance(event, _Ended))
        return [event for event in events if isinstance(event, PedalSpan)]

    def push(self, activations: RegressionActivations | None) -> list[Event]:
        """Take the next window, return notes as they begin and, once more, as they end.

        A window may be as short as one frame: a note begins one frame after its peak.
        """
        return self._told(self._scan.push(self._next(activations)))

    def close(self) -> list[Note | PedalSpan]:
        """End the recording: what is still open ends with it. Returns all notes that were fed."""
        events = [*self._held, *self._scan.push(self._stream.finish()), *self._scan.close()]
        return list(_ended(self._told(events)))

    def _told(self, found: list[_Found]) -> list[Event]:
        """Tell of a note's end with the velocity that its beginning was told with."""
        events: list[Event] = []
        for event in self._scan.told(found):
            if isinstance(event, NoteOn):
                self._announced[event.pitch] = event.velocity
            elif isinstance(event, Note):
                velocity = self._announced.pop(event.pitch, event.velocity)
                event = replace(event, velocity=velocity)
            events.append(event)
        return events

    def _next(self, activations: RegressionActivations | None) -> Stretch:
        return self._stream.push(None if activations is None else activations.rows())


def decode_peaks(activations: RegressionActivations, config: PeaksConfig) -> list[Note | PedalSpan]:
    """Decode a whole recording at once, frame 0 at 0 s."""
    scan = _Scan(config)
    events = scan.push(whole(activations.rows(), CONTEXT_FRAMES)) + scan.close()
    return list(_ended(scan.told(events)))


def find_tops(
    values: NDArray[np.float32], threshold: float
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Say which frames are peaks, and where between the frames their tops lie.

    ``values`` is (frames + 2, columns). A peak reaches the threshold, is higher than the frame
    before it and not lower than the one after. Returns two arrays (frames, columns), the second
    in frames, -0.5 to 0.5, 0 without a peak.
    """
    left, top, right = (values[i : len(values) - 2 + i] for i in range(3))
    is_peak = (top >= threshold) & (top > left) & (top >= right)
    shift = np.zeros_like(top)
    a, b, c = left[is_peak], top[is_peak], right[is_peak]
    # The steeper side shows the slope of both; through the neighbours they meet at the top.
    shift[is_peak] = (c - a) / (2 * (b - np.minimum(a, c)))
    return is_peak, shift


def _ended(events: list[Event]) -> Iterator[Note | PedalSpan]:
    return (event for event in events if not isinstance(event, NoteOn))


@dataclass(frozen=True, slots=True)
class _Begun:
    """A stroke; in its velocity, 0-1, the recording's level is still in."""

    key: int
    frame: int
    onset: float  # frames
    velocity: float
    confidence: float


@dataclass(frozen=True, slots=True)
class _Ended:
    note: _Begun
    end: float  # frames


_Found = _Begun | _Ended | PedalSpan


class _Scan:
    """The rule over successive stretches; keeps what is still open, and the level so far."""

    def __init__(self, config: PeaksConfig) -> None:
        self._config = config
        self._longest_frames = max(round(config.longest_note_s / config.frame_s), SHORTEST_FRAMES)
        self._open: dict[int, _Begun] = {}
        self._pedal = PedalPresses(config.pedal_frame_threshold)
        self._level = _MeanLevel()
        self._n_frames = 0

    def push(self, stretch: Stretch) -> list[_Found]:
        """Take the next frames, return what begins and ends in them."""
        config = self._config
        onset, offset, frame, velocity, others = np.split(
            stretch.rows, [N_KEYS, 2 * N_KEYS, 3 * N_KEYS, 4 * N_KEYS], axis=1
        )
        pedal, level = others[:, :2], _middle(others[:, 2])
        self._n_frames += len(stretch)
        is_onset, onset_shift = find_tops(onset, config.onset_threshold)
        is_offset, offset_shift = find_tops(offset, config.offset_threshold)
        is_silent = _middle(frame) < config.frame_threshold
        self._level.add(level[is_onset.any(axis=1) | ~is_silent.all(axis=1)])
        ends = _Ends(stretch.first_frame, is_offset | is_silent, offset_shift)
        struck: dict[int, list[_Begun]] = {key: [note] for key, note in self._open.items()}
        for at in zip(*(index.tolist() for index in np.nonzero(is_onset)), strict=True):
            top = at[0] + stretch.first_frame
            note = _Begun(
                at[1],
                top,
                top + float(onset_shift[at]),
                float(_middle(velocity)[at]),
                float(_middle(onset)[at]),
            )
            struck.setdefault(at[1], []).append(note)
        self._open = {}
        found: list[_Found] = []
        for _, notes in sorted(struck.items()):
            found += self._scan_key(notes, ends)
        is_peak, shift = find_tops(pedal[:, :1], config.pedal_offset_threshold)
        columns = (_middle(pedal)[:, 1], is_peak[:, 0], shift[:, 0])
        presses = self._pedal.push(zip(*(column.tolist() for column in columns), strict=True))
        return found + self._spans(presses)

    def close(self) -> list[_Found]:
        """End what is still open at the last frame."""
        notes: list[_Found] = [_Ended(note, self._n_frames) for note in self._open.values()]
        return notes + self._spans(self._pedal.close())

    def told(self, found: Iterable[_Found]) -> list[Event]:
        """Put into seconds and MIDI's velocities what was found, by the level so far."""
        return [self._told(event) for event in found]

    def _told(self, event: _Found) -> Event:
        match event:
            case _Begun():
                return self._note_on(event)
            case _Ended():
                return self._note(event)
        return event

    def _scan_key(self, notes: list[_Begun], ends: _Ends) -> Iterator[_Begun | _Ended]:
        """Begin and end the notes of one key, in order of onset; keeps the last if it goes on."""
        for note, following in zip(notes, [*notes[1:], None], strict=True):
            if note.frame >= ends.first_frame:
                self._pedal.struck(note.onset, note.key)
                yield note
            limit = self._n_frames if following is None else following.frame
            last = note.frame + self._longest_frames
            end = ends.first(note.key, note.frame + SHORTEST_FRAMES, min(limit, last))
            if end is not None:
                self._pedal.sound_ended(end, note.key)
                yield _Ended(note, end)
            elif last < limit:
                yield _Ended(note, last)
            elif following is not None:
                yield _Ended(note, following.onset)
            else:
                self._open[note.key] = note

    def _note_on(self, note: _Begun) -> NoteOn:
        velocity = self._level.taken_from(note.velocity)
        return NoteOn(
            onset_s=max(note.onset, 0.0) * self._config.frame_s,
            pitch=LOWEST_PITCH + note.key,
            velocity=min(max(round(velocity * VELOCITY_SCALE), 1), 127),
            confidence=round(note.confidence, 6),
        )

    def _note(self, event: _Ended) -> Note:
        begun, frame_s = self._note_on(event.note), self._config.frame_s
        offset_s = max(event.end * frame_s, begun.onset_s + frame_s / 2)
        return Note(begun.onset_s, offset_s, begun.pitch, begun.velocity, begun.confidence)

    def _spans(self, presses: list[Press]) -> list[_Found]:
        frame_s = self._config.frame_s
        return [PedalSpan(down * frame_s, up * frame_s, SUSTAIN_PEDAL) for down, up in presses]


class _MeanLevel:
    """The mean over frames so far, in the velocity's logits."""

    def __init__(self) -> None:
        self._sum, self._n_frames = 0.0, 0

    def add(self, levels: NDArray[np.float32]) -> None:
        self._sum += float(levels.sum(dtype=np.float64))
        self._n_frames += len(levels)

    def taken_from(self, velocity: float) -> float:
        """Subtract the mean from a velocity's logit; 0-1 as it came."""
        level = self._sum / max(self._n_frames, 1)
        nearly = min(max(velocity, 1e-6), 1 - 1e-6)
        return 1 / (1 + math.exp(level) * (1 - nearly) / nearly)


@dataclass(frozen=True, slots=True)
class _Ends:
    """Where notes may end in a stretch: arrays (frames, 88)."""

    first_frame: int
    is_end: NDArray[np.bool_]
    shift: NDArray[np.float32]  # frames; 0 where frames fall silent without an offset

    def first(self, key: int, start: int, limit: int) -> float | None:
        """Return the first end from the frame ``start`` up to ``limit``, in frames."""
        low = max(start - self.first_frame, 0)
        part = self.is_end[low : max(limit - self.first_frame, low), key]
        index = int(part.argmax()) if len(part) else 0
        if not len(part) or not part[index]:
            return None
        frame = low + index
        return frame + self.first_frame + float(self.shift[frame, key])


def _middle(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values[CONTEXT_FRAMES : len(values) - CONTEXT_FRAMES]

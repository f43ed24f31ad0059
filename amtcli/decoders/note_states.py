"""Notes from the state of every key in every frame: off, offset, sustain, onset or re-onset.

The five states of Kwon, Jeong and Nam, "Polyphonic Piano Transcription Using Autoregressive
Multi-State Note Model" (ISMIR 2020), with the numbers of Jeong's programs. A note lasts from its
onset to the first frame in which its key is off or being released. A re-onset ends the note
that its key still sounds and begins another; in the published programs both overlap. Onset
frames that follow one another are one onset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from amtcli.notes import LOWEST_PITCH, N_KEYS, Note, PedalSpan
from amtcli.windows import WindowSpec, owned_frames

OFF, OFFSET, SUSTAIN, ONSET, REONSET = range(5)
N_STATES = 5


@dataclass(frozen=True, slots=True)
class NoteStates:
    """Frames that have been decided: states (T, 88), and the probability of either onset."""

    states: NDArray[np.int64]
    onset_probability: NDArray[np.float32]


class UndecidedFrames(Protocol):
    """Frames of a window whose states are decided in order, each knowing the one before."""

    def decide(self, own: slice, memory: Any, onset_boost: float, /) -> tuple[NoteStates, Any]:
        """Decide the frames ``own``; ``memory`` is what the frame before them left, or None."""
        ...


@dataclass(frozen=True, slots=True)
class NoteOn:
    """A note that has begun and has not ended yet."""

    onset_s: float
    pitch: int
    velocity: int
    confidence: float


@dataclass(frozen=True)
class NoteStatesConfig:
    """The clock of the frames, and what the states do not say.

    label_shift_frames: frame n tells the states of frame n + label_shift_frames; so a network
        trained with shifted labels answers sooner.
    onset_boost: multiplies the probability of onset and re-onset before the likeliest state
        is taken; 1 takes the states as they are, 2 hears more notes.
    velocity: MIDI velocity of every note; the states do not tell it.
    """

    sample_rate_hz: int
    hop_samples: int
    label_shift_frames: int
    onset_boost: float
    velocity: int

    def __post_init__(self) -> None:
        if self.label_shift_frames < 0:
            raise ValueError(f"label_shift_frames is {self.label_shift_frames}, below 0")
        if self.onset_boost <= 0:
            raise ValueError(f"onset_boost is {self.onset_boost}, not above 0")
        if not 1 <= self.velocity <= 127:
            raise ValueError(f"velocity is {self.velocity}, not between 1 and 127")


class NoteStatesDecoder:
    """Feed it the windows of one recording in order; it gives out notes that have ended.

    Of each window it decides the frames that the window owns. The windows' margins must be
    wider than what a frame hears ahead, half an analysis window included; then it makes no
    difference how a recording is cut.
    """

    def __init__(self, config: NoteStatesConfig, window: WindowSpec) -> None:
        self.config = config
        self._own = owned_frames(window, config.hop_samples)
        # What begins in the recording's first frames is told by those before them.
        self.first_frame = -min(config.label_shift_frames, self._own.start)
        self._n_early = -self.first_frame
        self._tracker = NoteTracker(config, self.first_frame)
        self._memory: Any = None

    def feed(self, frames: UndecidedFrames | None) -> list[Note | PedalSpan]:
        """Take the next window (None: one without any sound), return notes that have ended."""
        own = slice(self._own.start - self._n_early, self._own.stop)
        self._n_early = 0
        if frames is not None:
            events = self.push(frames, own)
        else:
            self._memory = None
            events = self._tracker.push(_all_off(own.stop - own.start))
        return list(_ended(events))

    def push(self, frames: UndecidedFrames, own: slice = slice(None)) -> list[NoteOn | Note]:
        """Take the next frames, the first of all being ``first_frame``.

        Returns notes as they begin and, once more, as they end.
        """
        decided, self._memory = frames.decide(own, self._memory, self.config.onset_boost)
        return self._tracker.push(decided)

    def close(self) -> list[Note | PedalSpan]:
        """End the recording: what is still open ends with it."""
        return list(self._tracker.close())


def decode_note_states(decided: NoteStates, config: NoteStatesConfig) -> list[Note]:
    """Decode a whole recording at once; notes in order of their ends."""
    tracker = NoteTracker(config)
    return [*_ended(tracker.push(decided)), *tracker.close()]


class NoteTracker:
    """The rule, frame after frame: which notes begin, which end."""

    def __init__(self, config: NoteStatesConfig, first_frame: int = 0) -> None:
        self._config = config
        self._frame = first_frame
        self._was_onset = np.zeros(N_KEYS, bool)
        self._open: list[NoteOn | None] = [None] * N_KEYS
        self._is_open = np.zeros(N_KEYS, bool)

    def push(self, decided: NoteStates) -> list[NoteOn | Note]:
        """Take the next frames, return what begins and ends in them, in order of time."""
        events: list[NoteOn | Note] = []
        for states, probability in zip(decided.states, decided.onset_probability, strict=True):
            is_onset = states >= ONSET
            begins = is_onset & ~self._was_onset
            ends = self._is_open & (begins | (states < SUSTAIN))
            events += [self._end(key) for key in np.flatnonzero(ends)]
            events += [self._begin(key, probability[key]) for key in np.flatnonzero(begins)]
            self._was_onset = is_onset
            self._frame += 1
        return events

    def close(self) -> list[Note]:
        """End what is open with the last frame."""
        return [self._end(key) for key in np.flatnonzero(self._is_open)]

    def _begin(self, key: np.int64, probability: np.float32) -> NoteOn:
        confidence = round(float(probability), 6)
        begun = NoteOn(self._now_s(), LOWEST_PITCH + int(key), self._config.velocity, confidence)
        self._open[key], self._is_open[key] = begun, True
        return begun

    def _end(self, key: np.int64) -> Note:
        begun = self._open[key]
        assert begun is not None, "only open notes end"
        self._open[key], self._is_open[key] = None, False
        return Note(begun.onset_s, self._now_s(), begun.pitch, begun.velocity, begun.confidence)

    def _now_s(self) -> float:
        frame = self._frame + self._config.label_shift_frames
        return frame * self._config.hop_samples / self._config.sample_rate_hz


def _ended(events: list[NoteOn | Note]) -> list[Note]:
    return [event for event in events if isinstance(event, Note)]


def _all_off(n_frames: int) -> NoteStates:
    return NoteStates(np.full((n_frames, N_KEYS), OFF), np.zeros((n_frames, N_KEYS), np.float32))

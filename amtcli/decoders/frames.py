"""Notes from onset, frame, offset and velocity probabilities per key and frame.

The rule of the Onsets and Frames family: a note begins where its onset probability rises to a
threshold and lasts while its frame probability stays above one. Hawthorne et al., "Onsets and
Frames" (ISMIR 2018), section 3; local maxima as onsets: Wei et al., "HPPNet" (ISMIR 2022), section
3.4. A key struck again ends its earlier note here, so notes of one key never overlap; the
published programs let them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amtcli.notes import LOWEST_PITCH, N_KEYS, Note
from amtcli.windows import WindowSpec, owned_frames

_ONSET, _FRAME, _OFFSET, _VELOCITY = range(4)


@dataclass(frozen=True, slots=True)
class FrameActivations:
    """What a network says of each frame and key: four arrays (frames, 88) of values in 0-1.

    A network without an offset head gives zeros for it.
    """

    onset: NDArray[np.float32]
    frame: NDArray[np.float32]
    offset: NDArray[np.float32]
    velocity: NDArray[np.float32]

    def rows(self, own: slice = slice(None)) -> NDArray[np.float32]:
        """Stack the frames ``own`` into (frames, 4, 88)."""
        heads = (self.onset, self.frame, self.offset, self.velocity)
        return np.stack([head[own] for head in heads], axis=1)


@dataclass(frozen=True)
class FramesConfig:
    """Thresholds, and the clock of the frames. A value reaches a threshold that it equals.

    onset_threshold: a note begins where the onset probability rises to this.
    onset_peaks: whether only frames count as onsets that are not lower than either neighbour.
    confirmation_threshold: frame probability that the frame after an onset must reach for the
        note to count; 0 counts every onset.
    frame_threshold: a note lasts while its frame probability reaches this.
    offset_threshold, held_threshold: a note also ends where the offset probability reaches the
        first while the frame probability is below the second; 0 for the second means never.
    shortest_frames: notes last at least so long, unless their key is struck again before.
    velocity_scale: the MIDI velocity that a velocity of 1.0 stands for.
    """

    sample_rate_hz: int
    hop_samples: int
    onset_threshold: float
    onset_peaks: bool
    confirmation_threshold: float
    frame_threshold: float
    offset_threshold: float
    held_threshold: float
    shortest_frames: int
    velocity_scale: int


class FramesDecoder:
    """Feed it the windows of one recording in order; it gives out notes that have ended.

    Of each window it takes the frames that the window owns. It looks one frame ahead, and holds
    one open note per key, so cutting a recording differently changes nothing.
    """

    def __init__(self, config: FramesConfig, window: WindowSpec) -> None:
        self._own = owned_frames(window, config.hop_samples)
        self._scan = _Scan(config)

    def feed(self, activations: FrameActivations | None) -> list[Note]:
        """Take the next window (None: one without any sound), return notes that have ended."""
        if activations is None:
            rows = np.zeros((self._own.stop - self._own.start, 4, N_KEYS), np.float32)
        else:
            rows = activations.rows(self._own)
        return [note for row in rows for note in self._scan.push(row)]

    def close(self) -> list[Note]:
        """End the recording: what is still open ends with it."""
        return list(self._scan.close())


def decode_frames(activations: FrameActivations, config: FramesConfig) -> list[Note]:
    """Decode a whole recording at once, frame 0 at 0 s; notes in order of their ends."""
    scan = _Scan(config)
    notes = [note for row in activations.rows() for note in scan.push(row)]
    return [*notes, *scan.close()]


class _Scan:
    """The rule, one frame after the other; each is decided when the next one is known."""

    def __init__(self, config: FramesConfig) -> None:
        self._config = config
        self._n_pushed = 0
        self._row = np.zeros((4, N_KEYS), np.float32)  # the frame to decide next
        self._onset_before = np.full(N_KEYS, -np.inf, np.float32)  # of the frame before it
        self._was_onset = np.zeros(N_KEYS, bool)
        # Of the open note of each key:
        self._start = np.full(N_KEYS, -1)  # frame, -1: none is open
        self._end = np.full(N_KEYS, -1)  # frame, once it has fallen silent
        self._in_onset = np.zeros(N_KEYS, bool)  # whether its first onset run still lasts
        self._velocity_sum = np.zeros(N_KEYS)
        self._n_velocities = np.zeros(N_KEYS, int)
        self._confidence = np.zeros(N_KEYS, np.float32)

    def push(self, row: NDArray[np.float32]) -> Iterator[Note]:
        """Take the next frame (4, 88), yield the notes that end in the one before."""
        if self._n_pushed:
            yield from self._decide(row[_ONSET], row[_FRAME])
        self._row = row
        self._n_pushed += 1

    def close(self) -> Iterator[Note]:
        """Decide the last frame, as if a frame followed that speaks against nothing."""
        if self._n_pushed:
            infinity = np.full(N_KEYS, np.inf, np.float32)
            yield from self._decide(-infinity, infinity)
        for key in np.flatnonzero(self._start >= 0).tolist():
            yield self._note(key, max(int(self._end[key]), self._n_pushed))

    def _decide(
        self, next_onset: NDArray[np.float32], next_frame: NDArray[np.float32]
    ) -> Iterator[Note]:
        config, now = self._config, self._n_pushed - 1
        onset = self._row[_ONSET]
        is_onset = onset >= config.onset_threshold
        if config.onset_peaks:
            is_onset &= (onset >= self._onset_before) & (onset >= next_onset)
        begins = is_onset & ~self._was_onset & (next_frame >= config.confirmation_threshold)
        self._find_ends(is_onset | self._sounds(), now)
        for key in np.flatnonzero((self._start >= 0) & (begins | (self._end == now))).tolist():
            yield self._note(key, now)
            self._start[key] = -1
        self._begin(begins, now)
        self._in_onset &= is_onset
        self._velocity_sum += np.where(self._in_onset, self._row[_VELOCITY], 0)
        self._n_velocities += self._in_onset
        self._confidence = np.where(
            self._in_onset, np.maximum(self._confidence, onset), self._confidence
        )
        self._onset_before, self._was_onset = onset, is_onset

    def _sounds(self) -> NDArray[np.bool_]:
        frame, config = self._row[_FRAME], self._config
        is_released = self._row[_OFFSET] >= config.offset_threshold
        is_held = ~is_released | (frame >= config.held_threshold)
        sounds: NDArray[np.bool_] = (frame >= config.frame_threshold) & is_held
        return sounds

    def _find_ends(self, sounds: NDArray[np.bool_], now: int) -> None:
        falls_silent = (self._start >= 0) & (self._end < 0) & ~sounds
        earliest = self._start + self._config.shortest_frames
        self._end = np.where(falls_silent, np.maximum(now, earliest), self._end)

    def _begin(self, begins: NDArray[np.bool_], now: int) -> None:
        self._start[begins] = now
        self._end[begins] = -1
        self._velocity_sum[begins] = 0
        self._n_velocities[begins] = 0
        self._confidence[begins] = 0
        self._in_onset |= begins

    def _note(self, key: int, end: int) -> Note:
        config = self._config
        frame_s = config.hop_samples / config.sample_rate_hz
        velocity = self._velocity_sum[key] / self._n_velocities[key] * config.velocity_scale
        return Note(
            onset_s=int(self._start[key]) * frame_s,
            offset_s=end * frame_s,
            pitch=LOWEST_PITCH + key,
            velocity=min(max(round(float(velocity)), 1), 127),
            confidence=round(float(self._confidence[key]), 6),
        )

"""Notes from onset probabilities alone: blur along time, keep the peaks, read the velocities.

Fernandez, "Onsets and Velocities" (EUSIPCO 2023). That method says nothing
of where notes end; here a note lasts until its key is struck again, at most a fixed time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amtcli.decoders.frame_stream import FrameStream, Stretch, whole
from amtcli.notes import LOWEST_PITCH, N_KEYS, Note
from amtcli.windows import WindowSpec


@dataclass(frozen=True, slots=True)
class OnsetActivations:
    """What a network says of each frame and key: arrays (frames, 88) of values in 0-1."""

    onset: NDArray[np.float32]
    velocity: NDArray[np.float32]

    def rows(self) -> NDArray[np.float32]:
        """Put the heads beside one another, (frames, 2 * 88)."""
        return np.concatenate([self.onset, self.velocity], axis=1)


@dataclass(frozen=True)
class OnsetPeaksConfig:
    """Thresholds, and the clock of the frames.

    threshold: a peak of the blurred onset probability counts from this value on.
    blur_deviation_frames, blur_frames: deviation and (odd) length of the Gaussian; its sum is 1.
    onset_shift_s: added to every onset; negative where training labels lag behind the onset.
    longest_note_s: how long a note lasts when its key is not struck again before.
    """

    sample_rate_hz: int
    hop_samples: int
    threshold: float
    blur_deviation_frames: float
    blur_frames: int
    onset_shift_s: float
    longest_note_s: float

    def __post_init__(self) -> None:
        if self.blur_frames < 1 or self.blur_frames % 2 == 0:
            raise ValueError(f"blur_frames is {self.blur_frames}: it must be odd")
        if self.blur_deviation_frames <= 0 or self.longest_note_s <= 0:
            raise ValueError("blur_deviation_frames and longest_note_s must be positive")

    @property
    def context_frames(self) -> int:
        """How far to either side the decision on a frame looks."""
        return self.blur_frames // 2 + 1


@dataclass(frozen=True, slots=True)
class Onsets:
    """Onsets in order of time, one array entry each."""

    frame: NDArray[np.int64]
    key: NDArray[np.int64]
    probability: NDArray[np.float32]  # of the blurred map, which is what the threshold is for
    velocity: NDArray[np.float32]  # 0-1


class OnsetPeaksDecoder:
    """Feed it the windows of one recording in order; it gives out notes that have ended."""

    def __init__(self, config: OnsetPeaksConfig, window: WindowSpec) -> None:
        self._stream = FrameStream(window, config.hop_samples, 2 * N_KEYS, config.context_frames)
        self._config = config
        self._ends = _NoteEnds(config)

    def feed(self, activations: OnsetActivations | None) -> list[Note]:
        """Take the next window (None: one without any sound), return notes that have ended."""
        stretch = self._stream.push(None if activations is None else activations.rows())
        return self._ends.push(find_onsets(stretch, self._config), len(stretch))

    def close(self) -> list[Note]:
        """End the recording; a note may outlast it."""
        stretch = self._stream.finish()
        ended = self._ends.push(find_onsets(stretch, self._config), len(stretch))
        return ended + self._ends.close()


def decode_onset_peaks(activations: OnsetActivations, config: OnsetPeaksConfig) -> list[Note]:
    """Decode a whole recording at once, frame 0 at 0 s."""
    stretch = whole(activations.rows(), config.context_frames)
    ends = _NoteEnds(config)
    return ends.push(find_onsets(stretch, config), len(stretch)) + ends.close()


def find_onsets(stretch: Stretch, config: OnsetPeaksConfig) -> Onsets:
    """Find the peaks of a stretch of ``OnsetActivations.rows``.

    A peak is not lower than either neighbour; of equal neighbours the first is one. Velocities
    are averaged over a peak and its neighbours, as far as those lie within the recording.
    """
    onset, velocity = np.split(stretch.rows, [N_KEYS], axis=1)
    blurred = _blur(onset, config)
    before, now, after = (blurred[i : i + len(stretch)] for i in range(3))
    is_onset = (now >= config.threshold) & (now > before) & (now >= after)
    frame, key = np.nonzero(is_onset)
    around = frame[:, None] + stretch.context_frames + np.arange(-1, 2)
    near = velocity[around, key[:, None]]
    n_known = np.maximum(np.count_nonzero(near, axis=1), 1)
    return Onsets(
        frame=frame + stretch.first_frame,
        key=key,
        probability=now[frame, key],
        velocity=(near.sum(axis=1) / n_known).astype(np.float32),
    )


def _blur(onset: NDArray[np.float32], config: OnsetPeaksConfig) -> NDArray[np.float32]:
    """Blur along time; half the Gaussian is lost at either end."""
    reach = config.blur_frames // 2
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / config.blur_deviation_frames) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    n_frames = max(len(onset) - 2 * reach, 0)
    blurred = np.zeros((n_frames, onset.shape[1]), np.float32)
    for i, tap in enumerate(taps):
        blurred += tap * onset[i : i + n_frames]
    return blurred


class _NoteEnds:
    """Holds one note per key until its end is known."""

    def __init__(self, config: OnsetPeaksConfig) -> None:
        self._config = config
        self._frame_s = config.hop_samples / config.sample_rate_hz
        self._open: dict[int, Note] = {}
        self._n_frames = 0

    def push(self, onsets: Onsets, n_frames: int) -> list[Note]:
        """Take the onsets of the next frames, return notes that no later one can shorten."""
        ended = []
        for frame, key, probability, velocity in zip(
            onsets.frame.tolist(),
            onsets.key.tolist(),
            onsets.probability.tolist(),
            onsets.velocity.tolist(),
            strict=True,
        ):
            onset_s = max(frame * self._frame_s + self._config.onset_shift_s, 0.0)
            if key in self._open:
                ended.append(_cut(self._open[key], onset_s))
            self._open[key] = Note(
                onset_s=onset_s,
                offset_s=onset_s + self._config.longest_note_s,
                pitch=LOWEST_PITCH + key,
                velocity=min(max(round(velocity * 127), 1), 127),
                confidence=round(probability, 6),
            )
        self._n_frames += n_frames
        settled_s = self._n_frames * self._frame_s + self._config.onset_shift_s
        done = [key for key, note in self._open.items() if note.offset_s <= settled_s]
        return ended + [self._open.pop(key) for key in done]

    def close(self) -> list[Note]:
        return list(self._open.values())


def _cut(note: Note, onset_s: float) -> Note:
    if note.offset_s <= onset_s:
        return note
    return Note(note.onset_s, onset_s, note.pitch, note.velocity, note.confidence)

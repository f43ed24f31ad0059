"""Notes and pedals from regressed onsets and offsets, with times between the frames.

Kong et al., "High-Resolution Piano Transcription With Pedals by Regressing Onset and Offset
Times" (IEEE/ACM TASLP 2021), section III-D. Heads are trained on triangles around the true time,
so three values at a peak tell where between the frames it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from amtcli.decoders.frame_stream import FrameStream, Stretch, whole
from amtcli.notes import LOWEST_PITCH, N_KEYS, SUSTAIN_PEDAL, Note, PedalSpan
from amtcli.windows import WindowSpec

ONSET_REACH_FRAMES = 2  # values must not rise again for so many frames to either side of a peak
OFFSET_REACH_FRAMES = 4
PEDAL_PATIENCE_FRAMES = 10  # how long after its frames fell silent a pedal's offset may come
CONTEXT_FRAMES = max(ONSET_REACH_FRAMES, OFFSET_REACH_FRAMES)
SHORTEST_FRAMES = 0.5  # shifts could end a note of one frame before it begins
VELOCITY_SCALE = 128


@dataclass(frozen=True, slots=True)
class RegressionActivations:
    """What a network says of each frame: arrays (frames, 88) and (frames, 1), all but one in 0-1.

    Of ``level`` (frames, 1) the mean is to be subtracted from the logit of ``velocity``
    (``peaks`` does). A network without one of the parts gives zeros for it.
    """

    onset: NDArray[np.float32]
    offset: NDArray[np.float32]
    frame: NDArray[np.float32]
    velocity: NDArray[np.float32]
    pedal_offset: NDArray[np.float32]
    pedal_frame: NDArray[np.float32]
    level: NDArray[np.float32]

    def rows(self) -> NDArray[np.float32]:
        """Put the heads beside one another, (frames, 4 * 88 + 3)."""
        return np.concatenate([getattr(self, field.name) for field in fields(self)], axis=1)


N_COLUMNS = 4 * N_KEYS + 3


@dataclass(frozen=True)
class RegressionConfig:
    """Thresholds, and the clock of the frames.

    onset_threshold, offset_threshold, pedal_offset_threshold: a peak counts above this.
    frame_threshold, pedal_frame_threshold: down to this a note or pedal has fallen silent.
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


class RegressionDecoder:
    """Feed it the windows of one recording in order; it gives out what has ended."""

    def __init__(self, config: RegressionConfig, window: WindowSpec) -> None:
        self._stream = FrameStream(window, config.hop_samples, N_COLUMNS, CONTEXT_FRAMES)
        self._scan = _Scan(config)

    def feed(self, activations: RegressionActivations | None) -> list[Note | PedalSpan]:
        """Take the next window (None: one without any sound), return what has ended."""
        rows = None if activations is None else activations.rows()
        return self._scan.push(self._stream.push(rows))

    def close(self) -> list[Note | PedalSpan]:
        """End the recording: what is still open ends with it."""
        return self._scan.push(self._stream.finish()) + self._scan.close()


def decode_regression(
    activations: RegressionActivations, config: RegressionConfig
) -> list[Note | PedalSpan]:
    """Decode a whole recording at once, frame 0 at 0 s."""
    scan = _Scan(config)
    return scan.push(whole(activations.rows(), CONTEXT_FRAMES)) + scan.close()


def find_peaks(
    values: NDArray[np.float32], threshold: float, reach_frames: int
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Say which frames are peaks, and where between the frames their tops lie.

    ``values`` is (frames + 2 CONTEXT_FRAMES, columns). A peak is above the threshold, and values
    do not rise for ``reach_frames`` to either side of it; of equal neighbours the first is one.
    Returns two arrays (frames, columns), the second in frames, -0.5 to 0.5, 0 without a peak.
    """
    n_frames = max(len(values) - 2 * CONTEXT_FRAMES, 0)

    def at(distance: int) -> NDArray[np.float32]:
        first = CONTEXT_FRAMES + distance
        return values[first : first + n_frames]

    left, top, right = at(-1), at(0), at(1)
    is_peak = (top > threshold) & (top > left)
    for i in range(reach_frames):
        is_peak &= (at(-i) >= at(-i - 1)) & (at(i) >= at(i + 1))
    shift = np.zeros_like(top)
    a, b, c = left[is_peak], top[is_peak], right[is_peak]
    # The side that falls more steeply shows the slope; its line and its mirror image, laid
    # through the other neighbour, meet at the top.
    shift[is_peak] = (c - a) / (2 * (b - np.minimum(a, c)))
    return is_peak, shift


@dataclass(slots=True)
class _OpenNote:
    frame: int
    onset: float  # frames
    velocity: float
    confidence: float
    offset_frame: int = -1  # of the first offset peak since, or -1
    offset: float = 0.0  # frames


class _Scan:
    """The rule over successive stretches; keeps what is still open."""

    def __init__(self, config: RegressionConfig) -> None:
        self._config = config
        self._frame_s = config.hop_samples / config.sample_rate_hz
        self._longest_frames = round(config.longest_note_s / self._frame_s)
        self._open: dict[int, _OpenNote] = {}
        self._pedal = _PedalScan(config.pedal_frame_threshold)
        self._n_frames = 0

    def push(self, stretch: Stretch) -> list[Note | PedalSpan]:
        """Take the next frames, return what ends in them."""
        config = self._config
        heads = np.split(stretch.rows, [N_KEYS, 2 * N_KEYS, 3 * N_KEYS, 4 * N_KEYS], axis=1)
        onset, offset, frame, velocity, pedal = heads
        self._n_frames += len(stretch)
        found: list[Note | PedalSpan] = []
        heads_of_keys = _Heads(
            stretch.first_frame,
            *find_peaks(onset, config.onset_threshold, ONSET_REACH_FRAMES),
            *find_peaks(offset, config.offset_threshold, OFFSET_REACH_FRAMES),
            silent=_middle(frame) <= config.frame_threshold,
            onset=_middle(onset),
            velocity=_middle(velocity),
        )
        struck = set(np.flatnonzero(heads_of_keys.is_onset.any(axis=0)).tolist())
        for key in sorted(struck | self._open.keys()):
            found += self._scan_key(key, heads_of_keys)
        peaks = find_peaks(pedal[:, :1], config.pedal_offset_threshold, OFFSET_REACH_FRAMES)
        spans = self._pedal.push(*(p[:, 0].tolist() for p in (_middle(pedal[:, 1:]), *peaks)))
        return found + [self._span(*span) for span in spans]

    def close(self) -> list[Note | PedalSpan]:
        """End what is still open at the last frame."""
        last = self._n_frames - 1
        found: list[Note | PedalSpan] = [
            self._note(key, note, last) for key, note in self._open.items()
        ]
        return found + [self._span(*span) for span in self._pedal.close()]

    def _scan_key(self, key: int, heads: _Heads) -> Iterator[Note]:
        """Follow one key through the frames of a stretch."""
        onsets = np.flatnonzero(heads.is_onset[:, key]) + heads.first_frame
        notes = [heads.open_note(frame, key) for frame in onsets.tolist()]
        if key in self._open:
            notes.insert(0, self._open.pop(key))
        for i, note in enumerate(notes):
            is_last = i + 1 == len(notes)
            limit = self._n_frames if is_last else notes[i + 1].frame
            end = self._find_end(note, heads, key, limit)
            if end is not None:
                yield self._note(key, note, end)
            elif is_last:
                self._open[key] = note
            else:
                yield self._note(key, note, limit - 1)

    def _find_end(self, note: _OpenNote, heads: _Heads, key: int, limit: int) -> float | None:
        """Look for the end of a note before the frame ``limit``; returns it in frames."""
        start = max(note.frame + 1, heads.first_frame)
        silent = heads.first(heads.silent, start, limit, key)
        if note.offset_frame < 0:
            peak = heads.first(heads.is_offset, start, limit if silent < 0 else silent + 1, key)
            if peak >= 0:
                note.offset_frame, note.offset = peak, heads.offset(peak, key)
        last = note.frame + self._longest_frames
        if 0 <= silent <= last:
            peak = note.offset_frame
            is_nearer_to_silence = peak >= 0 and peak - note.frame > silent - peak
            return note.offset if is_nearer_to_silence else heads.offset(silent, key)
        return heads.offset(last, key) if last < limit else None

    def _note(self, key: int, note: _OpenNote, end: float) -> Note:
        onset = max(note.onset, 0.0)
        return Note(
            onset_s=onset * self._frame_s,
            offset_s=max(end, onset + SHORTEST_FRAMES) * self._frame_s,
            pitch=LOWEST_PITCH + key,
            velocity=min(max(int(note.velocity * VELOCITY_SCALE), 1), 127),
            confidence=round(note.confidence, 6),
        )

    def _span(self, begin: float, end: float) -> PedalSpan:
        return PedalSpan(begin * self._frame_s, end * self._frame_s, SUSTAIN_PEDAL)


@dataclass(frozen=True, slots=True)
class _Heads:
    """One stretch, ready to be read: arrays (frames, 88)."""

    first_frame: int
    is_onset: NDArray[np.bool_]
    onset_shift: NDArray[np.float32]
    is_offset: NDArray[np.bool_]
    offset_shift: NDArray[np.float32]
    silent: NDArray[np.bool_]
    onset: NDArray[np.float32]
    velocity: NDArray[np.float32]

    def open_note(self, frame: int, key: int) -> _OpenNote:
        at = (frame - self.first_frame, key)
        shift, confidence = float(self.onset_shift[at]), float(self.onset[at])
        return _OpenNote(frame, frame + shift, float(self.velocity[at]), confidence)

    def offset(self, frame: int, key: int) -> float:
        """Where an offset at a frame lies, in frames."""
        return frame + float(self.offset_shift[frame - self.first_frame, key])

    def first(self, flags: NDArray[np.bool_], start: int, limit: int, key: int) -> int:
        """First frame from ``start`` up to ``limit`` whose flag is set, or -1."""
        part = flags[start - self.first_frame : max(limit, start) - self.first_frame, key]
        found = int(part.argmax()) if len(part) else 0
        return start + found if len(part) and part[found] else -1


class _PedalScan:
    """The rule for the pedal, one frame after the other."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._now = 0
        self._before = 0.0
        self._begin = -1
        self._silent = -1

    def push(
        self, values: list[float], is_offset: list[bool], shifts: list[float]
    ) -> Iterator[tuple[float, float]]:
        """Take the next frames, yield begin and end of each press that ends, in frames."""
        for value, is_peak, shift in zip(values, is_offset, shifts, strict=True):
            end = self._end(value, is_peak, shift) if self._begin >= 0 else None
            if end is not None:
                yield self._begin, end
                self._begin = self._silent = -1
            elif self._begin < 0 and value >= self._threshold and value > self._before:
                self._begin = self._now
            self._before = value
            self._now += 1

    def close(self) -> Iterator[tuple[float, float]]:
        """Yield the press that has not ended, up to where it fell silent or the recording ends."""
        if self._begin >= 0:
            yield self._begin, self._silent if self._silent >= 0 else self._now

    def _end(self, value: float, is_peak: bool, shift: float) -> float | None:
        if value <= self._threshold and self._silent < 0:
            self._silent = self._now
        if is_peak:
            return self._now + shift
        waited = self._silent >= 0 and self._now - self._silent >= PEDAL_PATIENCE_FRAMES
        return self._silent if waited else None


def _middle(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values[CONTEXT_FRAMES : len(values) - CONTEXT_FRAMES]

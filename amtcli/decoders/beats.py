"""Beats, downbeats and dynamics from their probabilities per frame.

The rule of "Beat This" (Foscarin, Schlüter and Widmer, ISMIR 2024, section 3.4), which DynEst's
authors took over (ICASSP 2026): a beat is a peak that is likelier than not, and each downbeat
moves to the beat next to it. What is said of dynamics counts at beats alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from amtcli.decoders.frame_stream import FrameStream, Stretch, whole
from amtcli.notes import DYNAMICS, Beat
from amtcli.windows import WindowSpec

_BEAT, _DOWNBEAT, _CHANGE = range(3)
_N_COLUMNS = 3 + len(DYNAMICS)


@dataclass(frozen=True, slots=True)
class BeatActivations:
    """What a network says of each frame: probabilities, each in 0-1.

    ``beat``, ``downbeat`` and ``change`` (a new marking begins), (frames,); ``dynamics``
    (frames, 5) of each of DYNAMICS, should there be a beat; all 0 where nothing is known of them.
    """

    beat: NDArray[np.float32]
    downbeat: NDArray[np.float32]
    change: NDArray[np.float32]
    dynamics: NDArray[np.float32]

    def rows(self) -> NDArray[np.float32]:
        """Put all beside one another, (frames, 8)."""
        return np.column_stack([self.beat, self.downbeat, self.change, self.dynamics])


@dataclass(frozen=True)
class BeatsConfig:
    """Thresholds, and the clock of the frames.

    beat_threshold, downbeat_threshold: a peak counts whose probability is above this.
    change_threshold: a new marking begins at the beat next to a frame that reaches this.
    reach_frames: a peak is the highest so far to either side.
    """

    sample_rate_hz: int
    hop_samples: int
    beat_threshold: float
    downbeat_threshold: float
    change_threshold: float
    reach_frames: int

    def __post_init__(self) -> None:
        if self.reach_frames < 1:
            raise ValueError(f"reach_frames is {self.reach_frames}: a peak has neighbours")


class BeatsDecoder:
    """Feed it the windows of one recording in order; it gives out the beats that are settled."""

    def __init__(self, config: BeatsConfig, window: WindowSpec) -> None:
        self._stream = FrameStream(window, config.hop_samples, _N_COLUMNS, config.reach_frames)
        self._scan = _Scan(config)

    def feed(self, activations: BeatActivations | None) -> list[Beat]:
        """Take the next window (None: one without any sound), return what is settled."""
        rows = None if activations is None else activations.rows()
        return list(self._scan.push(self._stream.push(rows)))

    def close(self) -> list[Beat]:
        """End the recording, return the rest."""
        return [*self._scan.push(self._stream.finish()), *self._scan.close()]


def decode_beats(activations: BeatActivations, config: BeatsConfig) -> list[Beat]:
    """Decode a whole recording at once, frame 0 at 0 s."""
    scan = _Scan(config)
    return [*scan.push(whole(activations.rows(), config.reach_frames)), *scan.close()]


@dataclass(frozen=True, slots=True)
class _Peak:
    """A peak, and what was said at the first of its frames.

    ``frame`` lies between two frames where those are equally high.
    """

    frame: float
    probability: float
    dynamics: str | None


class _Peaks:
    """Joins peaks in successive frames; one is complete once the frame after it is known."""

    def __init__(self) -> None:
        self._run: list[_Peak] = []

    def push(self, peaks: Iterable[_Peak], n_known: float) -> Iterator[_Peak]:
        """Take the next peaks, frames being known up to ``n_known``; yield complete ones."""
        for peak in peaks:
            if self._run and peak.frame > self._run[-1].frame + 1:
                yield self._joined()
            self._run.append(peak)
        if self._run and self._run[-1].frame + 1 < n_known:
            yield self._joined()

    def _joined(self) -> _Peak:
        run, self._run = self._run, []
        middle = sum(peak.frame for peak in run) / len(run)
        return _Peak(middle, run[0].probability, run[0].dynamics)


class _Scan:
    """The rule; a beat is given out when all is known up to halfway to the next one."""

    def __init__(self, config: BeatsConfig) -> None:
        self._config = config
        self._frame_s = config.hop_samples / config.sample_rate_hz
        self._beat_peaks, self._downbeat_peaks = _Peaks(), _Peaks()
        self._beat: _Peak | None = None  # the last one, not given out yet
        self._downbeats: list[float] = []  # frames that belong to it or to a later one
        self._changes: list[float] = []

    def push(self, stretch: Stretch) -> Iterator[Beat]:
        config, n_known = self._config, stretch.first_frame + len(stretch)
        downbeats = _find(stretch, _DOWNBEAT, config.downbeat_threshold)
        self._downbeats += [p.frame for p in self._downbeat_peaks.push(downbeats, n_known)]
        now = stretch.rows[stretch.context_frames :][: len(stretch), _CHANGE]
        changes = np.flatnonzero(now >= config.change_threshold) + stretch.first_frame
        self._changes += changes.tolist()
        beats = _find(stretch, _BEAT, config.beat_threshold)
        yield from self._settled(self._beat_peaks.push(beats, n_known))

    def close(self) -> Iterator[Beat]:
        self._downbeats += [p.frame for p in self._downbeat_peaks.push((), np.inf)]
        yield from self._settled(self._beat_peaks.push((), np.inf))
        if self._beat is not None:
            yield self._given_out(self._beat, np.inf)

    def _settled(self, peaks: Iterable[_Peak]) -> Iterator[Beat]:
        for peak in peaks:
            if self._beat is not None:
                yield self._given_out(self._beat, (self._beat.frame + peak.frame) / 2)
            self._beat = peak

    def _given_out(self, peak: _Peak, limit: float) -> Beat:
        is_downbeat, self._downbeats = _taken(self._downbeats, limit)
        is_change, self._changes = _taken(self._changes, limit)
        return Beat(
            onset_s=peak.frame * self._frame_s,
            is_downbeat=is_downbeat,
            dynamics=peak.dynamics,
            is_change=is_change,
            confidence=round(peak.probability, 6),
        )


def _taken(frames: list[float], limit: float) -> tuple[bool, list[float]]:
    """Tell whether any frame lies up to ``limit``, and what lies behind it."""
    left = [frame for frame in frames if frame > limit]
    return len(left) < len(frames), left


def _find(stretch: Stretch, column: int, threshold: float) -> list[_Peak]:
    """Find the frames that nothing within the context exceeds, and that exceed the threshold."""
    if not len(stretch):
        return []
    values = stretch.rows[:, column]
    highest = sliding_window_view(values, 2 * stretch.context_frames + 1).max(axis=1)
    now = stretch.rows[stretch.context_frames :][: len(stretch)]
    found = np.flatnonzero((now[:, column] == highest) & (now[:, column] > threshold))
    dynamics = now[found, _N_COLUMNS - len(DYNAMICS) :]
    frames = found + stretch.first_frame
    return [
        _Peak(frame, probability, DYNAMICS[row.argmax()] if row.any() else None)
        for frame, probability, row in zip(
            frames.tolist(), now[found, column].tolist(), dynamics, strict=True
        )
    ]

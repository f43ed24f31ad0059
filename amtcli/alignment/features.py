"""What score and recording have in common: where pitch classes begin, and where they sound.

Both are brought to the same two arrays of 12 pitch classes (C is 0): *onsets* at 100 Hz, positive
where something begins, and *chroma* at 10 Hz, how much of each sounds. Octaves are folded, since
a note and its second harmonic cannot be told apart so simply. Frame n is centred at n / rate
seconds.

An onset is the rise of a band's logarithmic level, so that soft and loud notes count alike, above
what rises around it. With a window of 64 ms it is centred at the key's motion, within 9 ms either
way (rendered performances of MAPS); longer windows put it earlier, shorter ones later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from amtcli.audio import open_audio

RATE_HZ = 16_000
ONSETS_HZ = 100
CHROMA_HZ = 10
_ONSET_WINDOW = 1024  # 64 ms
_CHROMA_WINDOW = 4096  # 256 ms: tells semitones apart down to C3
_LOWEST_PITCH, _HIGHEST_PITCH = 28, 102  # E1 to F#7: above, there is little but noise
_N_CLASSES = 12
# Levels this far below the loudest are taken for silence.
_FLOOR = 3e-3
_LOG_OF_NOTHING = -20.0  # a sine of full scale is at -1
# A note's partials fall into other pitch classes, too: the third one a fifth above, and the
# fifth one a third above. (semitones, weight beside the fundamental and its octaves)
_PARTIALS = ((0, 1.0), (7, 0.3), (4, 0.15))
# The slow part of the rises, mostly reverberation and noise.
_BACKGROUND_S = 0.5
_AT_ONCE = 10_000  # frames
_MARGIN = 4  # frames after the last onset, for its peak
# A held note fades: roughly by half in this time, in the middle of the keyboard.
_DECAY_S = 1.0

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """``onsets`` (frames, 12) at 100 Hz, ``chroma`` (frames, 12) at 10 Hz, and the duration."""

    onsets: Array
    chroma: Array
    duration_s: float


def audio_features(
    source: Path | BinaryIO | NDArray[Any],
    *,
    source_rate_hz: int | None = None,
    name: str | None = None,
) -> Features:
    """Read a recording, as a stream, and compute its features. Raises AudioError."""
    onset_bands = _Analysis(_ONSET_WINDOW, ONSETS_HZ)
    chroma_bands = _Analysis(_CHROMA_WINDOW, CHROMA_HZ)
    levels: list[NDArray[np.float16]] = []
    sounding: list[NDArray[np.float16]] = []
    with open_audio(source, RATE_HZ, mono=True, source_rate_hz=source_rate_hz, name=name) as stream:
        for block in _with_end(iter(stream)):
            levels.append(onset_bands.feed(block))
            sounding.append(chroma_bands.feed(block))
        duration_s = stream.duration_s
    n_onsets, n_chroma = (round(duration_s * rate) + 1 for rate in (ONSETS_HZ, CHROMA_HZ))
    onsets = _rises(np.concatenate(levels)[:n_onsets])
    return Features(onsets, _chroma(np.concatenate(sounding)[:n_chroma]), duration_s)


def score_features(
    onsets_s: NDArray[np.float64],
    offsets_s: NDArray[np.float64],
    pitches: NDArray[np.intp],
) -> Features:
    """Compute what the features of a recording of these notes, each (n,), would be like."""
    duration_s = float(offsets_s.max(initial=0.0))
    chroma = np.zeros((int(duration_s * CHROMA_HZ) + 2, _N_CLASSES), np.float32)
    for onset_s, offset_s, pitch in zip(onsets_s, offsets_s, pitches, strict=True):
        first = round(onset_s * CHROMA_HZ)
        since_s = np.arange(max(1, round(offset_s * CHROMA_HZ) - first)) / CHROMA_HZ
        fading = np.exp2(-since_s / _DECAY_S)[: len(chroma) - first]
        for semitones, weight in _PARTIALS:
            chroma[first : first + len(fading), (pitch + semitones) % _N_CLASSES] += weight * fading
    onsets = score_onsets(onsets_s, pitches)
    n_silent = max(round(duration_s * ONSETS_HZ) + 1 - len(onsets), 0)
    return Features(np.pad(onsets, ((0, n_silent), (0, 0))), np.sqrt(chroma), duration_s)


def score_onsets(onsets_s: NDArray[np.float64], pitches: NDArray[np.intp]) -> Array:
    """Put a peak of sum 1 at each note's onset, smaller ones at its partials': (frames, 12)."""
    at = np.maximum(onsets_s, 0.0) * ONSETS_HZ
    first = np.floor(at).astype(int)
    onsets = np.zeros((int(first.max(initial=0)) + 2 + _MARGIN, _N_CLASSES), np.float32)
    for semitones, weight in _PARTIALS:
        classes = (pitches + semitones) % _N_CLASSES
        np.add.at(onsets, (first, classes), weight * (1 - (at - first)))
        np.add.at(onsets, (first + 1, classes), weight * (at - first))
    return blurred(onsets, 1)


def blurred(frames: Array, deviation_frames: float) -> Array:
    """Smooth each column by a Gaussian."""
    from scipy.ndimage import gaussian_filter1d

    smooth: Array = gaussian_filter1d(frames, deviation_frames, axis=0, mode="constant")
    return smooth


def _rises(levels: NDArray[np.float16]) -> Array:
    """How fast each pitch class gets louder, above the mean of what is around."""
    floor = _floor(levels)
    rises = np.zeros((len(levels), _N_CLASSES), np.float32)
    for first in range(1, len(levels), _AT_ONCE):
        part = np.logaddexp(levels[first - 1 : first + _AT_ONCE].astype(np.float32), floor)
        rises[first : first + len(part) - 1] = _fold(np.maximum(0, np.diff(part, axis=0)))
    above: Array = blurred(rises, 1) - blurred(rises, _BACKGROUND_S * ONSETS_HZ)
    return above


def _chroma(levels: NDArray[np.float16]) -> Array:
    """How far above the floor each pitch class is, by the logarithm."""
    above = np.logaddexp(0, levels.astype(np.float32) - _floor(levels))
    return _fold(above.astype(np.float32))


def _floor(levels: NDArray[np.float16]) -> float:
    return float(levels.max(initial=_LOG_OF_NOTHING)) + math.log(_FLOOR)


class _Analysis:
    """Log levels of semitone bands (frames, bands) of a stream of samples, block by block.

    Half precision is enough, and an hour takes 60 MB.
    """

    def __init__(self, window_samples: int, frames_hz: int) -> None:
        self._length = window_samples
        self._hop = RATE_HZ // frames_hz
        window = np.hanning(window_samples + 1)[:-1]
        self._window = (window / window.sum()).astype(np.float32)
        self._bands = _semitone_bands(window_samples)
        # Frame 0 is centred at the first sample.
        self._buffer = np.zeros(window_samples // 2, np.float32)

    def feed(self, samples: Array | None) -> NDArray[np.float16]:
        """Take samples, or None at the end, and return the frames that are complete."""
        # At the end zeros stand in for what the last windows reach beyond it.
        more = np.zeros(self._length, np.float32) if samples is None else samples
        buffer = np.concatenate([self._buffer, more])
        n_frames = max(0, (len(buffer) - self._length) // self._hop + 1)
        self._buffer = buffer[n_frames * self._hop :]
        if n_frames == 0:
            return np.zeros((0, len(self._bands)), np.float16)
        windows = np.lib.stride_tricks.sliding_window_view(buffer, self._length)[:: self._hop]
        spectrum = np.abs(np.fft.rfft(windows[:n_frames] * self._window)).astype(np.float32)
        levels = np.log(spectrum @ self._bands.T + math.exp(_LOG_OF_NOTHING))
        return np.asarray(levels, np.float16)


def _semitone_bands(window_samples: int) -> Array:
    """Triangles a semitone to either side, or a bin where bins are wider: (bands, bins)."""
    bin_hz = RATE_HZ / window_samples
    centres_hz = 440 * 2 ** ((np.arange(_LOWEST_PITCH, _HIGHEST_PITCH + 1) - 69) / 12)
    bins_hz = np.arange(1, window_samples // 2 + 1) * bin_hz
    widths = np.maximum(1, 12 * np.log2(1 + bin_hz / centres_hz))
    distances = np.abs(12 * np.log2(bins_hz / centres_hz[:, None]))
    bands = np.maximum(0, 1 - distances / widths[:, None])
    bands /= bands.sum(axis=1, keepdims=True)
    return np.pad(bands, ((0, 0), (1, 0))).astype(np.float32)  # no band takes the constant part


def _fold(bands: Array) -> Array:
    """Sum semitone bands (frames, bands) to pitch classes (frames, 12)."""
    classes = np.zeros((len(bands), _N_CLASSES), np.float32)
    for band in range(bands.shape[1]):
        classes[:, (_LOWEST_PITCH + band) % _N_CLASSES] += bands[:, band]
    return classes


def _with_end(blocks: Iterator[Array]) -> Iterator[Array | None]:
    for block in blocks:
        yield block[0]
    yield None

"""Whether a recording and its labels belong together, before anything is trained on them.

Where the sound rises is compared with where the labels say that notes begin: spectral flux (Bello
et al., "A Tutorial on Onset Detection in Music Signals", 2005, section III-A) against a train of
onsets, by cross-correlation. On 144 recordings of MAPS the greatest correlation was 0.27 or more
with the right labels, and 0.08 or less with those of another piece.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amtcli.datasets.labels import Labels, NoteLabels

_STEP_S = 0.01
_FRAME_S = 0.064
_FRAMES_AT_ONCE = 1000
_LOUDNESS = 10.0  # log(1 + 10 x): quiet rises count beside loud ones, noise does not
_LONGEST_LAG_S = 5.0
_FEWEST_ONSETS = 10  # distinct ones; fewer than that fit anywhere
_LEAST_CORRELATION = 0.12
# A regular rhythm fits nearly as well one note later: the lag is believed to be other than small
# only where no small lag comes near.
_NEARLY = 0.8

_LATEST_ONSET_S = 0.5
_LONGEST_TAIL_S = 30.0
_DURATION_TOLERANCE_S = 1.0


@dataclass(frozen=True)
class Lag:
    """By how much the sound comes after the labels, and how well both agree there (-1 to 1)."""

    lag_s: float
    correlation: float


def measure_lag(
    audio: NDArray[np.int16], sample_rate_hz: int, notes: NoteLabels, expected_s: float
) -> Lag | None:
    """Measure the lag of the sound behind the labels, up to 5 s either way.

    Lags up to ``expected_s`` are preferred to others that fit little better. The answer is some
    ms late, because a sound takes that long to rise. None where there are too few onsets to tell.
    """
    step = round(sample_rate_hz * _STEP_S)
    step_s = step / sample_rate_hz  # not 10 ms where these are no whole number of samples
    onsets = _onset_train(notes, len(audio) // step + 1, step_s)
    if np.count_nonzero(onsets) < _FEWEST_ONSETS:
        return None
    correlation = _correlation(_spectral_flux(audio, sample_rate_hz, step), onsets)
    middle = len(correlation) // 2
    near = round(expected_s / step_s)
    best = int(np.argmax(correlation))
    best_near = middle - near + int(np.argmax(correlation[middle - near : middle + near + 1]))
    if correlation[best_near] >= _NEARLY * correlation[best]:
        best = best_near
    steps = best - middle + _vertex(correlation, best)
    return Lag(round(steps * step_s, 3), round(float(correlation[best]), 3))


def find_misfit(
    n_samples: int, sample_rate_hz: int, labels: Labels, stated_s: float | None
) -> str | None:
    """Compare the lengths of audio and labels; return what does not fit, None where all does.

    ``stated_s`` is what the data set says of the length.
    """
    duration_s = n_samples / sample_rate_hz
    if stated_s is not None and abs(stated_s - duration_s) > _DURATION_TOLERANCE_S:
        return f"its audio lasts {duration_s:.1f} s, the data set says {stated_s:.1f} s"
    times_s = [
        known
        for known in (
            labels.notes.onset_s if labels.notes else None,
            labels.beats.time_s if labels.beats else None,
        )
        if known is not None and len(known)
    ]
    if not times_s:
        return "there is nothing in its labels"
    last_s = max(float(known.max()) for known in times_s)
    if last_s > duration_s + _LATEST_ONSET_S:
        return f"its labels go on to {last_s:.1f} s, its audio ends at {duration_s:.1f} s"
    if labels.notes is not None and len(labels.notes):
        tail_s = duration_s - float(labels.notes.sounding_end_s.max())
        if tail_s > _LONGEST_TAIL_S:
            return f"its audio goes on for {tail_s:.0f} s after the last note"
    return None


def judge_lag(lag: Lag | None, longest_s: float) -> str | None:
    """Return what is wrong with a lag, None where nothing is."""
    if lag is None:
        return None
    if lag.correlation < _LEAST_CORRELATION:
        return (
            f"its notes are not heard where its labels have them (correlation {lag.correlation:.2f}"
            f", at least {_LEAST_CORRELATION} is usual): another piece, or another tempo?"
        )
    if abs(lag.lag_s) > longest_s:
        side = "after" if lag.lag_s > 0 else "before"
        return f"its sound comes {abs(lag.lag_s):.2f} s {side} its labels"
    return None


def _onset_train(notes: NoteLabels, n_frames: int, step_s: float) -> NDArray[np.float64]:
    train = np.zeros(n_frames)
    frames = np.rint(notes.onset_s / step_s).astype(int)
    held = (frames >= 0) & (frames < n_frames)
    np.add.at(train, frames[held], notes.velocity[held].astype(float))
    if not train.any():
        return train
    # Chords of ten notes are no ten times more of an onset.
    return np.minimum(train, np.percentile(train[train > 0], 90))


def _spectral_flux(audio: NDArray[np.int16], sample_rate_hz: int, step: int) -> NDArray[np.float64]:
    """Sum of the rises of all bins from frame to frame; frame n is centred on n steps."""
    size = 1 << (round(sample_rate_hz * _FRAME_S) - 1).bit_length()
    padded = np.pad(audio, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::step]
    window = (np.hanning(size) / 32768).astype(np.float32)
    flux = np.zeros(len(audio) // step + 1)
    last = None
    for start in range(0, len(flux), _FRAMES_AT_ONCE):
        spectrum = np.fft.rfft(frames[start : start + _FRAMES_AT_ONCE] * window, axis=1)
        loudness = np.log1p(_LOUDNESS * np.abs(spectrum))
        before = loudness[:1] if last is None else last
        rises = np.diff(loudness, axis=0, prepend=before).clip(min=0).sum(axis=1)
        flux[start : start + len(rises)] = rises
        last = loudness[-1:]
    limited: NDArray[np.float64] = np.minimum(flux, np.percentile(flux, 98))
    return limited


def _correlation(flux: NDArray[np.float64], onsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalised cross-correlation at lags from -5 s to 5 s."""
    a, b = flux - flux.mean(), onsets - onsets.mean()
    n_lags = min(round(_LONGEST_LAG_S / _STEP_S), len(a) - 1)
    size = 1 << (2 * len(a)).bit_length()
    product = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    scale = np.linalg.norm(a) * np.linalg.norm(b) + 1e-9
    found = np.zeros(2 * round(_LONGEST_LAG_S / _STEP_S) + 1)
    middle = len(found) // 2
    found[middle - n_lags : middle] = product[size - n_lags :]
    found[middle : middle + n_lags + 1] = product[: n_lags + 1]
    normalised: NDArray[np.float64] = found / scale
    return normalised


def _vertex(values: NDArray[np.float64], peak: int) -> float:
    """Where the parabola through a peak and its neighbours has its top, in steps from the peak."""
    if not 0 < peak < len(values) - 1:
        return 0.0
    left, top, right = values[peak - 1 : peak + 2]
    curvature = left - 2 * top + right
    return float(np.clip((left - right) / (2 * curvature), -0.5, 0.5)) if curvature < 0 else 0.0

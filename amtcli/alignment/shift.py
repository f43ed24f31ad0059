"""How far a score lies from its recording, when it was played in time with it.

Stretches of the score's onsets are correlated with the recording's. First roughly, at all shifts
at once: the sum of the stretches' correlations along a line of shift and drift is largest where
the score belongs, and repeats of the music in other places do not add up. Then finely, each
stretch by itself near that line; a line through what they say, robust against the stretches that
are wrong, is the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amtcli.alignment.features import ONSETS_HZ, Array, blurred

# Roughly: 50 ms, stretches of 30 s, drifts to half a per cent.
_ROUGH_STEP = 5
_ROUGH_STRETCH_S = 30.0
_LARGEST_SHIFT_S = 120.0
_LARGEST_DRIFT = 0.005
# Finely: stretches of 10 s, shifts of 0.5 s to either side of the line.
_FINE_STRETCH_S = 10.0
_FINE_REACH_S = 0.5
_LEAST_STRETCHES = 6  # of a short score, by making them shorter
_LEAST_NOTES = 4.0  # in a stretch that shall have a say
# A stretch agrees with the line if it is no further off than this.
_AGREEMENT_S = 0.05


@dataclass(frozen=True)
class Shift:
    """``bias_s`` at the score's zero, and ``drift`` in seconds per second after it.

    A note at t in the score is heard at ``t * (1 + drift) + bias_s``. ``agreement`` is the share
    of the score's stretches that say so by themselves, ``spread_s`` how far off nine in ten of
    them are at most; ``prominence`` is how far, in standard deviations, the best line stands out
    of all others.
    """

    bias_s: float
    drift: float
    agreement: float
    spread_s: float
    prominence: float


def measure_shift(score: Array, audio: Array) -> Shift:
    """Measure shift and drift between onsets (frames, 12) at 100 Hz of a score and a recording.

    The score has one note at least and is no longer than the recording.
    """
    rough, prominence = _rough_line(score, audio)
    centres_s, shifts_s, n_stretches = _fine_shifts(score, audio, rough)
    drift, bias_s = _robust_line(centres_s, shifts_s)
    off_s = np.abs(bias_s + drift * centres_s - shifts_s)
    agreement = int(np.count_nonzero(off_s <= _AGREEMENT_S)) / n_stretches
    return Shift(bias_s, drift, agreement, float(np.percentile(off_s, 90)), prominence)


def _rough_line(score: Array, audio: Array) -> tuple[tuple[float, float], float]:
    score, audio = (blurred(_thinned(onsets), 1) for onsets in (score, audio))
    rate_hz = ONSETS_HZ / _ROUGH_STEP
    reach = round(_LARGEST_SHIFT_S * rate_hz)
    length = _stretch_length(score, _ROUGH_STRETCH_S * rate_hz)
    centres, curves = [], []
    for first in range(0, len(score), length):
        stretch = score[first : first + length]
        if stretch.sum() >= _LEAST_NOTES:
            centres.append(first + length / 2)
            curves.append(_correlation(stretch, audio, first, reach))
    if not curves:  # a few notes only
        centres, curves = [len(score) / 2], [_correlation(score, audio, 0, reach)]
    # Drifts in steps that move no stretch by more than a frame from one to the next.
    n_drifts = int(np.ceil(_LARGEST_DRIFT * len(score)))
    drifts = np.linspace(-_LARGEST_DRIFT, _LARGEST_DRIFT, 2 * n_drifts + 1)
    sums = np.zeros((len(drifts), 2 * reach + 1))
    for row, drift in enumerate(drifts):
        for centre, curve in zip(centres, curves, strict=True):
            sums[row] += np.roll(curve, -round(drift * centre))
    shifts = np.flatnonzero(_overlaps(score, len(audio), reach))
    row, place = divmod(int(np.argmax(sums[:, shifts])), len(shifts))
    line = sums[row, shifts]
    prominence = (line[place] - np.mean(line)) / max(float(np.std(line)), 1e-9)
    return ((int(shifts[place]) - reach) / rate_hz, float(drifts[row])), float(prominence)


def _overlaps(score: Array, n_audio: int, reach: int) -> NDArray[np.bool_]:
    """Whether half of the score's onsets, or more, fall into the audio, per shift."""
    so_far = np.concatenate([[0.0], np.cumsum(score.sum(axis=1))])
    shifts = np.arange(-reach, reach + 1)
    first, last = (np.clip(edge - shifts, 0, len(score)) for edge in (0, n_audio))
    inside: NDArray[np.bool_] = so_far[last] - so_far[first] >= 0.5 * so_far[-1]
    return inside


def _fine_shifts(
    score: Array, audio: Array, rough: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Centres of the stretches and the shift of each by itself, both (n,) s; and their number.

    Those that the line puts outside the recording are counted only.
    """
    bias_s, drift = rough
    reach = round(_FINE_REACH_S * ONSETS_HZ)
    length = _stretch_length(score, _FINE_STRETCH_S * ONSETS_HZ)
    centres_s, shifts_s = [], []
    n_stretches = 0
    for first in range(0, len(score), length // 2):
        stretch = score[first : first + length]
        if stretch.sum() < _LEAST_NOTES:
            continue
        centre_s = (first + len(stretch) / 2) / ONSETS_HZ
        expected = round((bias_s + drift * centre_s) * ONSETS_HZ)
        at = first + expected
        n_stretches += 1
        if at < -reach or at + len(stretch) > len(audio) + reach:
            continue  # it was not recorded
        curve = _correlation(stretch, audio, at, reach)
        centres_s.append(centre_s)
        shifts_s.append((expected + _peak(curve) - reach) / ONSETS_HZ)
    if not centres_s:
        return np.zeros(1), np.full(1, bias_s), 1
    return np.array(centres_s), np.array(shifts_s), n_stretches


def _robust_line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept; with few points, or none that are apart, a level line."""
    if len(x) < _LEAST_STRETCHES:
        return 0.0, float(np.median(y))
    from scipy.stats import theilslopes

    slope = float(theilslopes(y, x)[0])
    return slope, float(np.median(y - slope * x))


def _stretch_length(score: Array, wanted: float) -> int:
    return max(2, round(min(wanted, 2 * len(score) / (_LEAST_STRETCHES + 1))))


def _correlation(stretch: Array, audio: Array, at: int, reach: int) -> NDArray[np.float64]:
    """Mean of the audio where the stretch has onsets, for ``at - reach`` to ``at + reach``."""
    from scipy.signal import correlate

    first, last = at - reach, at + reach + len(stretch)
    window = np.zeros((last - first, audio.shape[1]), np.float32)
    inside = slice(max(first, 0), max(min(last, len(audio)), 0))
    part = audio[inside]
    window[inside.start - first : inside.start - first + len(part)] = part
    curve = sum(
        correlate(window[:, k], stretch[:, k], "valid", method="fft") for k in range(audio.shape[1])
    )
    return np.asarray(curve / max(float(stretch.sum()), 1.0), np.float64)


def _peak(curve: NDArray[np.float64]) -> float:
    """Where a curve is largest, between its points by the parabola through three of them."""
    top = int(np.argmax(curve))
    if not 0 < top < len(curve) - 1:
        return float(top)
    before, at, after = curve[top - 1 : top + 2]
    bend = before - 2 * at + after
    return top + (0.5 * (before - after) / bend if bend else 0.0)


def _thinned(onsets: Array) -> Array:
    """Sum every ``_ROUGH_STEP`` frames, centred like the first of them and every fifth after."""
    before = _ROUGH_STEP // 2
    after = -(len(onsets) + before) % _ROUGH_STEP
    padded = np.pad(onsets, ((before, after), (0, 0)))
    thin: Array = padded.reshape(-1, _ROUGH_STEP, onsets.shape[1]).sum(axis=1)
    return thin

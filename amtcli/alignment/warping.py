"""Where a score that was not played in time lies in its recording: dynamic time warping.

librosa's DTW, in two passes, so that memory does not grow with the square of the length: first
over the whole piece in frames as long as it takes for a matrix of bounded size, by chroma; then
along the path found so, in overlapping blocks of some seconds at 50 Hz, by chroma and onsets
together (Ewert, Müller and Grosche, ICASSP 2009, combine the two; Prätzlich, Driedger and Müller,
ICASSP 2016, bound the memory by such blocks). Only what the score's onsets are paired with is
kept; between them, time runs evenly.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amtcli.alignment.features import CHROMA_HZ, ONSETS_HZ, Array, Features, blurred
from amtcli.errors import UsageError

_Path = NDArray[np.intp]  # (points, 2): score frame, audio frame, neither ever going back

# 4 million cells are about 100 MB in librosa's DTW.
_MOST_ROUGH_CELLS = 4_000_000
_ROUGH_HZ = 5.0
_FINE_HZ = 50.0
_BLOCK_S = 10.0
# How far the rough path may be off.
_ROUGH_ERROR_S = 1.5
# Steps along one side, along the other, and along both: the usual weights for music.
_STEPS = np.array([[1, 0], [0, 1], [1, 1]])
_STEP_WEIGHTS = np.array([1.5, 1.5, 2.0])
# An onset fades over this time, so that near onsets attract each other.
_ONSET_FADE_S = 0.07
# Onsets say when, chroma says where: what the distance of onsets weighs beside that of chroma.
_ONSET_WEIGHT = 4.0
# Onsets are measured by the mean size of what is within this time; a single one is larger.
_LEVEL_S = 1.0
_LEVEL_FACTOR = 4.0
# Of a recording, what is below this share of its level is noise, or another sound than music.
_QUIETEST = 0.1


@dataclass(frozen=True)
class Warp:
    """Pairs of times, both (n,) in seconds and never going back.

    ``similarity`` is the mean product of the chroma along the path: 0.5 to 0.7 for the right
    recording, 0.1 to 0.3 for another (MAPS), 1 for the same.
    """

    score_s: NDArray[np.float64]
    audio_s: NDArray[np.float64]
    similarity: float

    def heard_at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """When times of the score are heard; beyond the first and last pair, time runs evenly."""
        before = np.minimum(times_s - self.score_s[0], 0)
        after = np.maximum(times_s - self.score_s[-1], 0)
        inside = np.interp(times_s, self.score_s, self.audio_s)
        heard: NDArray[np.float64] = inside + before + after
        return heard


def require_librosa() -> None:
    """Raise UsageError where librosa is not installed."""
    if importlib.util.find_spec("librosa") is None:
        raise UsageError("--align needs librosa: pip install 'amtcli[align]'")


@dataclass(frozen=True)
class _Frames:
    """Chroma and onsets of one side, both (frames, 12), at one rate."""

    chroma: Array
    onsets: Array

    def __len__(self) -> int:
        return len(self.chroma)


def warp(score: Features, audio: Features) -> Warp:
    """Pair a score with a recording from its first sound to its last.

    The score holds one note at least; the recording may have silence before and after the
    music, and no other music.
    """
    rough_s = _rough_path(score, audio)
    sides = _frames(score, _FINE_HZ), _frames(audio, _FINE_HZ)
    path, costs = _fine_path(*sides, rough_s * _FINE_HZ)
    alike = np.einsum("ij,ij->i", sides[0].chroma[path[:, 0]], sides[1].chroma[path[:, 1]])
    struck = np.unique(np.round(_onset_times_s(score.onsets) * _FINE_HZ).astype(int))
    pairs = _cheapest_pairs(path, costs, struck)
    audio_s = np.maximum.accumulate(pairs[:, 1]) / _FINE_HZ
    return Warp(pairs[:, 0] / _FINE_HZ, audio_s, float(np.mean(alike)))


def _rough_path(score: Features, audio: Features) -> NDArray[np.float64]:
    """Points of a path over the whole piece: (n, 2) seconds of score and recording."""
    spans_s = [_sounding_s(score, 0.0), _sounding_s(audio, _QUIETEST)]
    area = float(np.prod([end_s - start_s for start_s, end_s in spans_s]))
    rate_hz = float(min(_ROUGH_HZ, np.sqrt(_MOST_ROUGH_CELLS / max(area, 1.0))))
    firsts = [int(start_s * rate_hz) for start_s, _ in spans_s]
    sides = []
    for side, first, (_, end_s) in zip((score, audio), firsts, spans_s, strict=True):
        frames = _frames(side, rate_hz)
        both = np.concatenate([frames.chroma, _LEVEL_FACTOR * frames.onsets], axis=1)
        sides.append(_unit(both[first : int(end_s * rate_hz) + 1]))
    path, _ = _dtw(1 - sides[0] @ sides[1].T)
    # The first and the last onset may lie up to a frame beyond.
    path = np.concatenate([path[:1] - 1, path, path[-1:] + 1]) + np.array(firsts)
    return np.asarray(np.maximum(path, 0) / rate_hz, np.float64)


def _fine_path(
    score: _Frames, audio: _Frames, rough: NDArray[np.float64]
) -> tuple[_Path, NDArray[np.float64]]:
    """Return the path in fine frames, block by block along the rough one, and its costs.

    Each block begins where the one before has its middle, so that no point kept depends on where
    the rough path made a block end.
    """
    length, reach = round(_BLOCK_S * _FINE_HZ), round(_ROUGH_ERROR_S * _FINE_HZ)
    centres = _middles(rough, len(score), len(audio))
    row, end = max(0, round(rough[0, 0])), min(len(score) - 1, round(rough[-1, 0]))
    column = int(centres[row])
    paths, costs = [], []
    while True:
        last = min(row + length, end)
        goal = max(int(centres[last]), column)
        rows, columns = np.arange(row, last + 1), np.arange(column, goal + 1)
        cost = _costs(score, audio, rows, columns)
        cost[~_near(np.maximum(centres[rows], column), columns, reach)] = np.inf
        path, path_costs = _dtw(cost)
        kept = path[:, 0] <= (length // 2 if last < end else length)
        paths.append(path[kept] + np.array([row, column]))
        costs.append(path_costs[kept])
        if last == end:
            return np.concatenate(paths), np.concatenate(costs)
        row, column = paths[-1][-1]


def _near(centres: NDArray[np.float64], columns: _Path, reach: int) -> NDArray[np.bool_]:
    """Which columns are within reach of each row's, or lead from there to the next row's.

    Where the recording goes on while the score stays (applause, a repeat that is not written),
    the next row's may be far.
    """
    latest = np.maximum(centres + reach, np.append(centres[1:] - reach, 0.0))
    near: NDArray[np.bool_] = (columns >= centres[:, None] - reach) & (columns <= latest[:, None])
    return near


def _costs(score: _Frames, audio: _Frames, rows: _Path, columns: _Path) -> NDArray[np.float64]:
    """How unlike each row of the score is to each column of the recording."""
    from scipy.spatial.distance import cdist

    chroma = 1 - score.chroma[rows] @ audio.chroma[columns].T
    onsets = cdist(score.onsets[rows], audio.onsets[columns])
    return np.asarray(chroma + _ONSET_WEIGHT * onsets, np.float64)


def _dtw(cost: NDArray[Any]) -> tuple[_Path, NDArray[np.float64]]:
    """Return the cheapest path from the first cell to the last, and what its cells cost."""
    from librosa.sequence import dtw

    _, path = dtw(C=cost, step_sizes_sigma=_STEPS, weights_mul=_STEP_WEIGHTS)
    path = np.asarray(path[::-1], np.intp)
    return path, np.asarray(cost[path[:, 0], path[:, 1]], np.float64)


def _cheapest_pairs(path: _Path, costs: NDArray[np.float64], rows: _Path) -> _Path:
    """Of each row, among the columns that a path pairs it with, the one that is most alike."""
    order = np.lexsort((costs, path[:, 0]))
    found, first = np.unique(path[order, 0], return_index=True)
    wanted = np.isin(found, rows)
    return path[order[first[wanted]]]


def _onset_times_s(onsets: Array) -> NDArray[np.float64]:
    """Where the onsets of a score have their peaks, in seconds."""
    sizes = np.pad(onsets.sum(axis=1), 1)
    is_peak = (sizes[1:-1] > sizes[:-2]) & (sizes[1:-1] >= sizes[2:])
    return np.flatnonzero(is_peak) / ONSETS_HZ


def _middles(path: NDArray[np.float64], n_rows: int, n_columns: int) -> NDArray[np.float64]:
    """Where a path is, on the mean, for each row: never going back, and within the columns."""
    rows, first, counts = np.unique(path[:, 0], return_index=True, return_counts=True)
    means = np.add.reduceat(path[:, 1], first) / counts
    return np.clip(np.interp(np.arange(n_rows), rows, means), 0, n_columns - 1)


def _frames(side: Features, rate_hz: float) -> _Frames:
    onsets = _resampled(np.maximum(side.onsets, 0), ONSETS_HZ, rate_hz)
    onsets = _fading(_leveled(onsets, rate_hz), rate_hz)
    chroma = _contrasted(_resampled(side.chroma, CHROMA_HZ, rate_hz))
    n_frames = min(len(onsets), len(chroma))
    return _Frames(chroma[:n_frames], onsets[:n_frames])


def _resampled(frames: Array, from_hz: float, to_hz: float) -> Array:
    """Frame n becomes that at n / to_hz: of what lies around it, or between its neighbours."""
    if to_hz < from_hz:
        # As wide as a mean over what one new frame stands for.
        frames = blurred(frames, 0.3 * from_hz / to_hz)
    at = np.arange(int((len(frames) - 1) * to_hz / from_hz) + 1) * from_hz / to_hz
    columns = [np.interp(at, np.arange(len(frames)), column) for column in frames.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _contrasted(chroma: Array) -> Array:
    """Take away what all classes share in a frame, and what the piece has in every frame."""
    unit = _unit(chroma - chroma.min(axis=1, keepdims=True))
    return _unit(unit - unit.mean(axis=0))


def _leveled(onsets: Array, rate_hz: float) -> Array:
    """Divide by what is around, so that loud and soft music count alike."""
    sizes = blurred(np.linalg.norm(onsets, axis=1, keepdims=True), _LEVEL_S * rate_hz)
    leveled: Array = onsets / np.maximum(_LEVEL_FACTOR * sizes, 1e-3)
    return leveled


def _fading(onsets: Array, rate_hz: float) -> Array:
    from scipy.signal import lfilter

    keep = np.exp(-1 / (_ONSET_FADE_S * rate_hz))
    faded: Array = lfilter([1.0], [1.0, -keep], onsets, axis=0).astype(np.float32)
    return faded


def _sounding_s(side: Features, quietest: float) -> tuple[float, float]:
    """When the first sound begins and the last one ends; below a share of the level is none."""
    levels = side.chroma.sum(axis=1)
    sounding = np.flatnonzero(levels > quietest * np.percentile(levels, 95))
    if not len(sounding):
        return 0.0, side.duration_s
    return float(sounding[0]) / CHROMA_HZ, float(sounding[-1]) / CHROMA_HZ


def _unit(frames: Array) -> Array:
    """Scale each frame to length 1; what is nothing stays so."""
    unit: Array = frames / np.maximum(np.linalg.norm(frames, axis=1, keepdims=True), 1e-6)
    return unit

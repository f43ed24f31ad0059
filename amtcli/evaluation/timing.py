"""How late an estimate is: the median, the spread and the drift of its times.

A deviation is estimate minus reference, so a positive one is late. Deviations are taken on
notes that match by onset and pitch around the piece's own median, not around zero: a recording
that lies 30 ms behind its labels would otherwise lose the later half of its notes at a
tolerance of 50 ms, and its median with them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from amtcli.evaluation.matching import MatchRule, hits, match_notes
from amtcli.evaluation.note_arrays import NoteArrays

LARGEST_LAG_S = 0.2
# Lags this close count as one: about the spread of onsets within one recording.
LAG_WINDOW_S = 0.05
PERCENTILES = (5, 25, 75, 95)


def median_lag_s(reference: NoteArrays, estimate: NoteArrays, rule: MatchRule) -> float:
    """Median onset deviation of the piece, seconds; 0 where nothing matches within 0.2 s.

    Matching at a wide tolerance would confuse repeated notes. So the lag is first found
    roughly, as the one that most pairs of notes of one key share, and is then the median over
    the notes that match within the rule's own tolerance around it.
    """
    rough_s = _most_shared_lag_s(reference, estimate, rule)
    matching = match_notes(*without_lag(reference, estimate, rough_s), rule)
    if len(matching) == 0:
        return 0.0
    return float(np.median(estimate.onsets_s[matching[:, 1]] - reference.onsets_s[matching[:, 0]]))


def _most_shared_lag_s(reference: NoteArrays, estimate: NoteArrays, rule: MatchRule) -> float:
    wide = replace(rule, onset_tolerance_s=max(rule.onset_tolerance_s, LARGEST_LAG_S))
    pairs = hits(reference, estimate, wide)
    lags_s = np.sort(
        np.concatenate(
            [np.zeros(0), *(estimate.onsets_s[j] - reference.onsets_s[i] for i, j in pairs)]
        )
    )
    if len(lags_s) == 0:
        return 0.0
    first = np.searchsorted(lags_s, lags_s - LAG_WINDOW_S / 2, side="left")
    last = np.searchsorted(lags_s, lags_s + LAG_WINDOW_S / 2, side="right")
    shared = np.flatnonzero(last - first == np.max(last - first))
    nearest = shared[np.argmin(np.abs(lags_s[shared]))]
    return float(np.median(lags_s[first[nearest] : last[nearest]]))


def without_lag(
    reference: NoteArrays, estimate: NoteArrays, lag_s: float
) -> tuple[NoteArrays, NoteArrays]:
    """Remove a lag by moving the earlier side later, so that no time becomes negative."""
    if lag_s > 0:
        return reference.shifted(lag_s), estimate
    return reference, estimate.shifted(-lag_s)


def deviation_statistics(deviations_s: NDArray[np.float64]) -> dict[str, float | None]:
    """Median and percentiles in milliseconds; ``None`` without deviations."""
    names = ["median_ms"] + [f"p{p:02d}_ms" for p in PERCENTILES]
    if len(deviations_s) == 0:
        return dict.fromkeys(names)
    values = 1000 * np.percentile(deviations_s, [50, *PERCENTILES])
    return dict(zip(names, values.tolist(), strict=True))


def drift_ms_per_min(
    times_s: NDArray[np.float64], deviations_s: NDArray[np.float64]
) -> float | None:
    """Slope of the least-squares line of deviation over time; 0.06 ms/min is 1 ppm."""
    if len(times_s) < 2 or np.ptp(times_s) == 0:
        return None
    centred_s = times_s - times_s.mean()
    slope = float(np.sum(centred_s * deviations_s) / np.sum(centred_s**2))
    return slope * 60 * 1000

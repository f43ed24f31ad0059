"""What sounds when: frame scores of notes and pedals.

Sampled frames give the precision, recall and accuracy of ``mir_eval.multipitch`` (whose loop
over frames takes minutes on a concert): within one frame a key either sounds or not, so the
counts are lengths of unions and intersections of whole frames. Exact durations are the limit
of short frames, and what Transkun's paper calls activation.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from amtcli.evaluation.note_arrays import NoteArrays
from amtcli.evaluation.scores import Counts


def count_frames(reference: NoteArrays, estimate: NoteArrays, hop_s: float) -> Counts:
    """Count frames per key; a note lasts from the frame nearest its onset to that of its offset.

    With ``hop_s`` 0 seconds are counted instead of frames.
    """
    if hop_s == 0:
        return count_durations(reference, estimate)
    return count_durations(
        replace(reference, intervals=np.rint(reference.intervals / hop_s)),
        replace(estimate, intervals=np.rint(estimate.intervals / hop_s)),
    )


def count_durations(reference: NoteArrays, estimate: NoteArrays) -> Counts:
    """Weigh by exact time: seconds in which each key sounds, in one, the other and both."""
    both_s = ref_s = est_s = 0.0
    for pitch in np.union1d(reference.pitches, estimate.pitches):
        ref = _union(reference.intervals[reference.pitches == pitch])
        est = _union(estimate.intervals[estimate.pitches == pitch])
        ref_s += float(np.sum(ref[:, 1] - ref[:, 0]))
        est_s += float(np.sum(est[:, 1] - est[:, 0]))
        both_s += _common_s(ref, est)
    return Counts(both_s, ref_s, est_s)


def _union(intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Merge overlapping and touching intervals; sorted, disjoint, (m, 2)."""
    if len(intervals) == 0:
        return intervals
    intervals = intervals[np.argsort(intervals[:, 0], kind="stable")]
    reached = np.maximum.accumulate(intervals[:, 1])
    starts = np.append(True, intervals[1:, 0] > reached[:-1])
    ends = np.append(starts[1:], True)
    return np.column_stack([intervals[starts, 0], reached[ends]])


def _common_s(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Seconds covered by both of two sorted disjoint interval lists."""
    if len(first) == 0 or len(second) == 0:
        return 0.0
    covered = np.concatenate([[0.0], np.cumsum(second[:, 1] - second[:, 0])])

    def covered_until(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        k = np.searchsorted(second[:, 0], times_s, side="right")
        last = np.maximum(k - 1, 0)
        inside = np.clip(times_s - second[last, 0], 0.0, second[last, 1] - second[last, 0])
        result: NDArray[np.float64] = np.where(k > 0, covered[last] + inside, 0.0)
        return result

    return float(np.sum(covered_until(first[:, 1]) - covered_until(first[:, 0])))

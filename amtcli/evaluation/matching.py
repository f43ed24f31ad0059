"""Which estimated note is which reference note: mir_eval's matching, without its matrix.

``mir_eval.transcription.match_notes`` compares every reference note with every estimated one
in several dense matrices, which takes gigabytes once a bad decoder emits 300,000 notes. Here
only pairs whose onsets lie close are compared, and the resulting graph is handed to the very
Hopcroft-Karp routine that mir_eval uses.

Are the figures the same? A pair is an edge by the same elementwise arithmetic (distances
rounded to four decimals, cents by ``log2``, ``<=``), so the graph is the same. Precision,
recall and F1 need only the size of a maximum matching, which belongs to the graph. The overlap
ratio and the velocity line also depend on *which* maximum matching is found; the routine is
deterministic in the order in which the graph is written, and the graph is written in mir_eval's
order (reference by reference, then estimate by estimate). So the matching itself is mir_eval's,
pair for pair, and the tests hold it to that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mir_eval
import numpy as np
from numpy.typing import NDArray

from amtcli.evaluation.conventions import PITCH_TOLERANCE_CENTS, Conventions, PitchUnit
from amtcli.evaluation.note_arrays import NoteArrays

# mir_eval rounds distances to this many decimals before it compares them.
N_DECIMALS = 4
# Pairs compared at once: bounds the memory whatever the number of notes.
N_PAIRS_AT_ONCE = 1_000_000

Matching = NDArray[np.int64]  # (n, 2): index of the reference note, index of the estimated one
Indices = tuple[NDArray[np.int64], NDArray[np.int64]]  # of reference notes, of estimated ones


@dataclass(frozen=True)
class MatchRule:
    """When two notes may be the same. ``offset_ratio`` ``None`` leaves offsets aside."""

    onset_tolerance_s: float
    offset_ratio: float | None = None
    offset_min_s: float = 0.05
    pitch_unit: PitchUnit = "hz"


def onset_rule(conventions: Conventions, onset_tolerance_s: float) -> MatchRule:
    """Onset and pitch must agree."""
    return MatchRule(onset_tolerance_s, pitch_unit=conventions.pitch_unit)


def onset_offset_rule(conventions: Conventions, onset_tolerance_s: float) -> MatchRule:
    """Onset, offset and pitch must agree."""
    return MatchRule(
        onset_tolerance_s,
        conventions.offset_ratio,
        conventions.offset_min_s,
        conventions.pitch_unit,
    )


def match_notes(reference: NoteArrays, estimate: NoteArrays, rule: MatchRule) -> Matching:
    """Find mir_eval's maximum matching under ``rule``, in order of the reference notes."""
    graph: dict[int, list[int]] = {}
    for ref, est in hits(reference, estimate, rule):
        for i, j in zip(ref.tolist(), est.tolist(), strict=True):
            graph.setdefault(j, []).append(i)
    with _recursion_of_at_least(len(graph)):
        pairs = sorted(mir_eval.util._bipartite_match(graph).items())
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def hits(reference: NoteArrays, estimate: NoteArrays, rule: MatchRule) -> Iterator[Indices]:
    """Give out, in portions, the indices of all pairs of notes that may be the same.

    By reference, then by estimate; a note is in as many pairs as it has possible partners.
    """
    for ref, est in _close_pairs(reference.onsets_s, estimate.onsets_s, rule.onset_tolerance_s):
        keep = _are_hits(reference, estimate, ref, est, rule)
        yield ref[keep], est[keep]


@contextmanager
def _recursion_of_at_least(depth: int) -> Iterator[None]:
    """Let mir_eval follow an augmenting path through every note: it recurses along the path."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + depth)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _close_pairs(
    ref_onsets_s: NDArray[np.float64], est_onsets_s: NDArray[np.float64], tolerance_s: float
) -> Iterator[Indices]:
    """Index pairs of onsets that may be within the tolerance, by reference, then by estimate."""
    order = np.argsort(est_onsets_s, kind="stable")
    in_time = est_onsets_s[order]
    margin_s = tolerance_s + 10.0**-N_DECIMALS
    first = np.searchsorted(in_time, ref_onsets_s - margin_s, side="left")
    count = np.searchsorted(in_time, ref_onsets_s + margin_s, side="right") - first
    ends = np.cumsum(count)
    start = 0
    while start < len(ref_onsets_s):
        before = ends[start] - count[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + N_PAIRS_AT_ONCE)))
        n = count[start:stop]
        ref = np.repeat(np.arange(start, start + len(n)), n)
        within = np.arange(len(ref)) - np.repeat(np.cumsum(n) - n, n)
        est = order[np.repeat(first[start:stop], n) + within]
        by_both = np.lexsort((est, ref))
        yield ref[by_both], est[by_both]
        start = stop


def _are_hits(
    reference: NoteArrays,
    estimate: NoteArrays,
    ref: NDArray[np.int64],
    est: NDArray[np.int64],
    rule: MatchRule,
) -> NDArray[np.bool_]:
    """mir_eval's criteria, for the pairs ``ref[k]``, ``est[k]`` only."""
    onset_distance_s = np.abs(reference.onsets_s[ref] - estimate.onsets_s[est])
    hits = np.around(onset_distance_s, decimals=N_DECIMALS) <= rule.onset_tolerance_s
    ref_log_pitch = _log_pitches(reference, rule.pitch_unit)[ref]
    est_log_pitch = _log_pitches(estimate, rule.pitch_unit)[est]
    hits &= np.abs(1200 * (ref_log_pitch - est_log_pitch)) <= PITCH_TOLERANCE_CENTS
    if rule.offset_ratio is None:
        return hits
    offset_distance_s = np.abs(reference.offsets_s[ref] - estimate.offsets_s[est])
    durations_s = (reference.offsets_s - reference.onsets_s)[ref]
    tolerance_s = np.maximum(rule.offset_ratio * durations_s, rule.offset_min_s)
    return hits & (np.around(offset_distance_s, decimals=N_DECIMALS) <= tolerance_s)


def _log_pitches(notes: NoteArrays, unit: PitchUnit) -> NDArray[np.float64]:
    pitches = mir_eval.util.midi_to_hz(notes.pitches) if unit == "hz" else notes.pitches
    logs: NDArray[np.float64] = np.log2(pitches)
    return logs


def velocity_matching(
    matching: Matching, reference: NoteArrays, estimate: NoteArrays, tolerance: float
) -> Matching:
    """Keep the pairs whose velocities agree, as ``mir_eval.transcription_velocity`` does.

    Reference velocities are scaled to 0-1 by their range (or by 1, where that is more), the
    estimated ones are laid on them by the least-squares line over all matched pairs, and a
    pair stays when the rest is below ``tolerance`` (Hawthorne et al. 2018, section 4).
    """
    if len(matching) == 0:
        return matching
    lowest, highest = np.min(reference.velocities), np.max(reference.velocities)
    wanted = (reference.velocities - lowest) / float(max(1, highest - lowest))
    ref, est = wanted[matching[:, 0]], estimate.velocities[matching[:, 1]]
    line = np.vstack([est, np.ones(len(est))]).T
    slope, intercept = np.linalg.lstsq(line, ref, rcond=None)[0]
    kept: Matching = matching[np.abs(slope * est + intercept - ref) < tolerance]
    return kept

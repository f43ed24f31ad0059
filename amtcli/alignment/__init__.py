"""Where a score's notes are heard in its recording.

Two ways: a score that was played in time with the recording is shifted and stretched a little
(`Alignment`); any other is warped, on request (`Warp`). Either answers when a time of the score
is heard. What cannot be right is an error that says so: another recording, a score that is
longer, a shift that nobody should correct in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from amtcli.alignment.features import Features, audio_features, score_features, score_onsets
from amtcli.alignment.shift import Shift, measure_shift
from amtcli.alignment.warping import Warp, require_librosa, warp
from amtcli.errors import AmtError, MidiError

__all__ = [
    "Alignment",
    "Features",
    "Placement",
    "Times",
    "Warp",
    "align",
    "audio_features",
    "require_librosa",
    "warp_score",
]

LARGEST_BIAS_S = 0.5
LARGEST_DRIFT = 0.002
# What is measured differs by as much from instrument to instrument.
NEGLIGIBLE_S = 0.01
# On MAPS: right recordings of 12 s and more agree in 0.71 to 1 of their stretches and stand out
# by 3.7 to 19 deviations; of 214 whole wrong ones none does both, of 12 s of them 1 in 12.
_LEAST_AGREEMENT = 0.7
_LEAST_PROMINENCE = 3.5
_CLEAR_PROMINENCE = 8.0  # more than any wrong recording had
# On MAPS: 0.47 and more for right recordings, at most 0.31 for wrong ones.
_LEAST_SIMILARITY = 0.4
# Before its first onset a score has silence, as a recording has; and its last chord rings on for
# so long at least, whatever is written. Else the path, which must lead from corner to corner,
# would pair their neighbours with the silence before and the sound that dies away.
_LEAD_S, _RING_S = 1.0, 3.0
_CHORD_S = 0.05
# Of less, nothing can be told; it is taken as it stands.
_SHORTEST_S = 10.0
_FEWEST_NOTES = 16
# A last onset this far beyond the end is a matter of rounding.
_END_TOLERANCE_S = 0.1

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Times:
    """Onsets and offsets in seconds, and pitches, of a score's notes in any order, each (n,)."""

    onsets_s: Seconds
    offsets_s: Seconds
    pitches: NDArray[np.intp]


class Placement(Protocol):
    """Says where a score lies in a recording."""

    def heard_at(self, times_s: Seconds, /) -> Seconds:
        """When times of the score are heard, in seconds of the recording."""
        ...


@dataclass(frozen=True)
class Alignment:
    """A shift and a drift: t in the score is heard at ``t * (1 + drift) + bias_s``.

    ``confidence`` is the share of the score's stretches of 10 s that say the same by themselves,
    None where the score is too short to be measured.
    """

    bias_s: float
    drift: float
    confidence: float | None

    def heard_at(self, times_s: Seconds) -> Seconds:
        """When times of the score are heard; a shift within the error of measuring is none."""
        shifts_s = self.bias_s + self.drift * times_s
        if np.abs(shifts_s).max(initial=0.0) < NEGLIGIBLE_S:
            return times_s
        heard: Seconds = times_s + shifts_s
        return heard


def align(score: Times, audio: Features) -> Alignment:
    """Measure how a score that was played in time lies in its recording.

    Raises
    ------
    MidiError
        The score has no notes.
    AmtError
        The score is longer than the recording, does not correlate with it, or lies or drifts
        too far from it.
    """
    _refuse_empty(score)
    last_s = float(score.onsets_s.max())
    _refuse_longer(last_s, audio.duration_s + LARGEST_BIAS_S, audio.duration_s)
    if len(score.onsets_s) < _FEWEST_NOTES or last_s - score.onsets_s.min() < _SHORTEST_S:
        return Alignment(0.0, 0.0, None)
    shift = measure_shift(score_onsets(score.onsets_s, score.pitches), audio.onsets)
    _refuse_uncorrelated(shift)
    _refuse_far(shift, last_s)
    alignment = Alignment(shift.bias_s, shift.drift, shift.agreement)
    heard_s = float(alignment.heard_at(np.array([last_s]))[0])
    _refuse_longer(heard_s, audio.duration_s + _END_TOLERANCE_S, audio.duration_s)
    return alignment


def warp_score(score: Times, audio: Features) -> Warp:
    """Lay a score that was not played in time onto the recording.

    Raises MidiError for a score without notes, and AmtError where the two are not alike.
    """
    _refuse_empty(score)
    onsets_s, offsets_s = score.onsets_s + _LEAD_S, score.offsets_s + _LEAD_S
    ends = onsets_s > onsets_s.max() - _CHORD_S
    offsets_s = np.where(ends, np.maximum(offsets_s, onsets_s + _RING_S), offsets_s)
    warped = warp(score_features(onsets_s, offsets_s, score.pitches), audio)
    warped = replace(warped, score_s=warped.score_s - _LEAD_S)
    if warped.similarity < _LEAST_SIMILARITY:
        raise AmtError(
            f"score and recording are not alike (by {max(warped.similarity, 0.0):.2f}, where "
            f"{_LEAST_SIMILARITY:.2f} is needed): is it the right recording, and all of it?"
        )
    return warped


def _refuse_empty(score: Times) -> None:
    if not len(score.onsets_s):
        raise MidiError("the score has no notes (drums, on channel 10, are none)")


def _refuse_longer(last_s: float, limit_s: float, duration_s: float) -> None:
    if last_s > limit_s:
        raise AmtError(
            f"the score is longer than the recording: its last note begins at {last_s:.1f} s, "
            f"the recording ends at {duration_s:.1f} s; is it cut off, or another one?"
        )


def _refuse_uncorrelated(shift: Shift) -> None:
    if shift.agreement < _LEAST_AGREEMENT and shift.prominence >= _CLEAR_PROMINENCE:
        raise AmtError(
            f"only {shift.agreement:.0%} of the score is in time with the recording, the rest is "
            f"up to {shift.spread_s * 1000:.0f} ms off: --align warps it"
        )
    if shift.agreement < _LEAST_AGREEMENT or shift.prominence < _LEAST_PROMINENCE:
        raise AmtError(
            f"score and recording do not correlate ({shift.agreement:.0%} of the score agree on "
            "how they lie): is it the right recording? A score that was not played in time with "
            "it needs --align"
        )


def _refuse_far(shift: Shift, last_s: float) -> None:
    if abs(shift.bias_s) > LARGEST_BIAS_S:
        where = "behind" if shift.bias_s > 0 else "ahead of"
        raise AmtError(
            f"the recording lies {abs(shift.bias_s):.2f} s {where} the score (up to "
            f"{LARGEST_BIAS_S:.2f} s is corrected): shift the score, or use --align"
        )
    if abs(shift.drift) > LARGEST_DRIFT:
        way = "slower" if shift.drift > 0 else "faster"
        raise AmtError(
            f"the recording is {abs(shift.drift):.2%} {way} than the score, "
            f"{abs(shift.drift) * last_s:.2f} s at its end (up to {LARGEST_DRIFT:.2%} is "
            "corrected): correct the tempo of the score, or use --align"
        )

"""All scores of one piece."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from amtcli.evaluation.beats import compared_dynamics, count_beats
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.frames import count_durations, count_frames
from amtcli.evaluation.label_roll import notes_of_label_roll
from amtcli.evaluation.matching import (
    Matching,
    match_notes,
    onset_offset_rule,
    onset_rule,
    velocity_matching,
)
from amtcli.evaluation.measures import CountKey, Samples, Scores, named_scores
from amtcli.evaluation.note_arrays import NoteArrays, arrays_of_notes, arrays_of_spans
from amtcli.evaluation.scores import Counts, count_matches
from amtcli.evaluation.timing import drift_ms_per_min, median_lag_s, without_lag
from amtcli.evaluation.velocity import pair_in_order
from amtcli.notes import SOFT_PEDAL, SUSTAIN_PEDAL, Performance, extend_by_pedal

PEDALS = {"pedal": SUSTAIN_PEDAL, "soft_pedal": SOFT_PEDAL}
# The Onsets and Frames scripts hand velocities over as fractions of this.
UNIT_VELOCITY = 128.0

Notes = tuple[NoteArrays, NoteArrays]  # reference, estimate


@dataclass(frozen=True)
class PieceScores:
    """``scores``: by name, ``None`` where one has no meaning for this piece."""

    scores: Scores
    counts: dict[CountKey, Counts]
    samples: Samples


def score_piece(
    reference: Performance, estimate: Performance, conventions: Conventions
) -> PieceScores:
    """Compare an estimate with its reference; an empty estimate scores 0 throughout.

    A reference without a pedal, or without beats, has no scores of them.

    Raises
    ------
    AmtError
        ``conventions.score_informed`` is set and the notes are not the same on both sides.
    """
    notes = compared_notes(reference, estimate, conventions)
    lag_s = median_lag_s(*notes, onset_rule(conventions, conventions.onset_tolerances_s[0]))
    centred = without_lag(*notes, lag_s)
    matchings = _matchings(notes, conventions)
    centred_matchings = _matchings(centred, conventions)

    counts = _note_counts(notes, matchings, conventions)
    for (family, suffix), matching in centred_matchings.items():
        counts[(family, suffix + "_centred")] = count_matches(matching, *centred)
    hop_s = conventions.frame_hop_s if conventions.grid_s is None else conventions.grid_s
    counts[("frame", "")] = count_frames(*notes, hop_s)
    for name, controller in PEDALS.items():
        counts |= _pedal_counts(reference, estimate, name, controller, conventions)

    around = centred_matchings[("onset", "")]
    samples = _samples(notes, matchings[("onset", "")], around, conventions)
    if not conventions.score_informed:  # there the estimate's beats are the reference's own
        beats = reference.beats, estimate.beats
        counts |= {(family, ""): count for family, count in count_beats(*beats).items()}
        samples = replace(samples, dynamics=compared_dynamics(*beats))
    scores = named_scores(counts, samples)
    scores["onset_drift_ms_per_min"] = drift_ms_per_min(
        notes[0].onsets_s[around[:, 0]], samples.deviations_s[:, 0]
    )
    return PieceScores(scores, counts, samples)


def compared_notes(
    reference: Performance, estimate: Performance, conventions: Conventions
) -> Notes:
    """Extend both sides by the pedal and quantise them, as agreed."""
    extend_ref = conventions.pedal_extend in ("ref,est", "ref")
    extend_est = conventions.pedal_extend == "ref,est"
    return (
        _prepared(extend_by_pedal(reference) if extend_ref else reference, conventions),
        _prepared(extend_by_pedal(estimate) if extend_est else estimate, conventions),
    )


def _prepared(performance: Performance, conventions: Conventions) -> NoteArrays:
    notes = arrays_of_notes(performance.notes)
    return notes if conventions.grid_s is None else notes_of_label_roll(notes, conventions.grid_s)


def _matchings(notes: Notes, conventions: Conventions) -> dict[CountKey, Matching]:
    """Match by onset, and by onset and offset, at each tolerance."""
    return {
        (family, suffix): match_notes(*notes, rule(conventions, tolerance_s))
        for tolerance_s, suffix in zip(
            conventions.onset_tolerances_s, conventions.suffixes, strict=True
        )
        for family, rule in (("onset", onset_rule), ("onset_offset", onset_offset_rule))
    }


def _note_counts(
    notes: Notes, matchings: dict[CountKey, Matching], conventions: Conventions
) -> dict[CountKey, Counts]:
    scale = UNIT_VELOCITY if conventions.velocity_scale == "unit" else 1.0
    ref, est = (replace(side, velocities=side.velocities / scale) for side in notes)
    counts: dict[CountKey, Counts] = {}
    for suffix in conventions.suffixes:
        families = {family: matchings[(family, suffix)] for family in ("onset", "onset_offset")}
        for family, matching in families.items():
            counts[(family, suffix)] = count_matches(matching, *notes)
        for family, matching in families.items():
            agreeing = velocity_matching(matching, ref, est, conventions.velocity_tolerance)
            counts[(f"{family}_velocity", suffix)] = count_matches(agreeing, *notes)
    return counts


def _pedal_counts(
    reference: Performance,
    estimate: Performance,
    name: str,
    controller: int,
    conventions: Conventions,
) -> dict[CountKey, Counts]:
    """Pedal presses matched like notes of one pitch, and the time that the pedal is down.

    As in Transkun's evaluation, a reference without this pedal has no pedal scores.
    """
    ref, est = (
        arrays_of_spans(span for span in performance.pedals if span.controller == controller)
        for performance in (reference, estimate)
    )
    if len(ref) == 0:
        return {}
    tolerance_s = conventions.onset_tolerances_s[0]
    onset = match_notes(ref, est, onset_rule(conventions, tolerance_s))
    onset_offset = match_notes(ref, est, onset_offset_rule(conventions, tolerance_s))
    return {
        (f"{name}_onset", ""): count_matches(onset, ref, est),
        (f"{name}_onset_offset", ""): count_matches(onset_offset, ref, est),
        (f"{name}_frame", ""): count_durations(ref, est),
    }


def _samples(
    notes: Notes, matching: Matching, around: Matching, conventions: Conventions
) -> Samples:
    """Velocities of the notes matched as they are, deviations of those matched ``around``."""
    ref, est = notes
    all_notes = matching[:0]
    if conventions.score_informed and len(est):
        all_notes = pair_in_order(ref, est)

    def velocities(pairs: Matching) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.column_stack([ref.velocities[pairs[:, 0]], est.velocities[pairs[:, 1]]])

    deviations_s = est.intervals[around[:, 1]] - ref.intervals[around[:, 0]]
    return Samples(velocities(matching), velocities(all_notes), deviations_s)

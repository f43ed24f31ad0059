import warnings

import mir_eval
import numpy as np
import pytest
from evaluation_data import melody, notes, real_performances, with_faults

from amtcli.errors import AmtError
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.matching import onset_rule
from amtcli.evaluation.piece import compared_notes, score_piece
from amtcli.evaluation.timing import median_lag_s
from amtcli.notes import Note, PedalSpan, Performance

hz = mir_eval.util.midi_to_hz
TRANSCRIPTION = mir_eval.transcription.precision_recall_f1_overlap
VELOCITY = mir_eval.transcription_velocity.precision_recall_f1_overlap
MEASURES = ("precision", "recall", "f1", "overlap")


def assert_measures(scores, family, expected, suffix=""):
    found = [scores[f"{family}_{measure}{suffix}"] for measure in MEASURES]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def assert_equal_to_mir_eval(reference, estimate, conventions):
    """Every score that mir_eval has, at each tolerance and once more without the lag."""
    scores = score_piece(reference, estimate, conventions).scores
    ref, est = compared_notes(reference, estimate, conventions)
    ref_notes, est_notes = (ref.intervals, hz(ref.pitches)), (est.intervals, hz(est.pitches))
    scale = 128 if conventions.velocity_scale == "unit" else 1
    ref_all, est_all = (*ref_notes, ref.velocities / scale), (*est_notes, est.velocities / scale)
    tolerances_s = zip(conventions.onset_tolerances_s, conventions.suffixes, strict=True)
    for tolerance_s, suffix in tolerances_s:
        onset = {"onset_tolerance": tolerance_s, "offset_ratio": None}
        offset = {
            "onset_tolerance": tolerance_s,
            "offset_ratio": conventions.offset_ratio,
            "offset_min_tolerance": conventions.offset_min_s,
        }
        velocity = {"velocity_tolerance": conventions.velocity_tolerance}
        for family, expected in {
            "onset": TRANSCRIPTION(*ref_notes, *est_notes, **onset),
            "onset_offset": TRANSCRIPTION(*ref_notes, *est_notes, **offset),
            "onset_velocity": VELOCITY(*ref_all, *est_all, **onset, **velocity),
            "onset_offset_velocity": VELOCITY(*ref_all, *est_all, **offset, **velocity),
        }.items():
            assert_measures(scores, family, expected, suffix)
    lag_s = median_lag_s(ref, est, onset_rule(conventions, conventions.onset_tolerances_s[0]))
    assert lag_s > 0  # so the reference is moved later
    centred = TRANSCRIPTION(
        ref.intervals + lag_s,
        hz(ref.pitches),
        *est_notes,
        onset_tolerance=conventions.onset_tolerances_s[0],
        offset_ratio=None,
    )
    assert_measures(scores, "onset", centred, "_centred")
    assert_frames_equal_multipitch(scores, ref, est, conventions.frame_hop_s)


def assert_frames_equal_multipitch(scores, ref, est, hop_s):
    n_frames = round(max(ref.offsets_s.max(), est.offsets_s.max()) / hop_s) + 1
    active = []
    for side in (ref, est):
        roll = np.zeros((n_frames, 128), bool)
        for (onset_s, offset_s), pitch in zip(side.intervals, side.pitches, strict=True):
            roll[round(onset_s / hop_s) : round(offset_s / hop_s), int(pitch)] = True
        active.append([hz(np.flatnonzero(frame)) for frame in roll])
    times = np.arange(n_frames) * hop_s
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = mir_eval.multipitch.metrics(times, active[0], times, active[1])[:3]
    found = [scores[f"frame_{measure}"] for measure in ("precision", "recall", "accuracy")]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


WAYS = [
    Conventions(),
    Conventions(
        onset_tolerances_s=(0.03, 0.1),
        offset_ratio=0.1,
        offset_min_s=0.08,
        velocity_tolerance=0.05,
        velocity_scale="unit",
        pedal_extend="none",
        frame_hop_s=0.032,
    ),
]


@pytest.mark.parametrize("conventions", WAYS, ids=["defaults", "others"])
def test_every_figure_is_mir_evals_on_three_real_pairs(shared_data, conventions):
    for seed, reference in enumerate(real_performances(shared_data / "asap.tar.xz", 3)):
        first_minute = [note for note in reference.notes if note.onset_s < 60]
        part = Performance(tuple(first_minute), reference.pedals)
        assert len(part.notes) > 300
        assert_equal_to_mir_eval(part, with_faults(part, seed), conventions)


@pytest.mark.slow
def test_every_figure_is_mir_evals_on_fifty_real_pairs(shared_data):
    performances = real_performances(shared_data / "asap.tar.xz", 50)
    for seed, reference in enumerate(performances):
        conventions = WAYS[seed % len(WAYS)]
        assert_equal_to_mir_eval(reference, with_faults(reference, seed), conventions)


def test_scores_that_can_be_checked_on_paper():
    reference = notes((0, 1, 60, 50), (1, 2, 62, 60), (2, 3, 64, 70), (3, 4, 65, 80))
    # One exact, one late by 40 ms with its offset 300 ms off, one a semitone wrong, one missed.
    estimate = notes((0, 1, 60, 55), (1.04, 2.3, 62, 65), (2, 3, 63, 70))
    scores = score_piece(reference, estimate, Conventions(frame_hop_s=0)).scores
    overlap = (1 + 0.96 / 1.3) / 2
    assert_measures(scores, "onset", (2 / 3, 2 / 4, 4 / 7, overlap))
    assert_measures(scores, "onset_offset", (1 / 3, 1 / 4, 2 / 7, 1))
    # Two points lie on a line, so both velocities agree.
    assert_measures(scores, "onset_velocity", (2 / 3, 2 / 4, 4 / 7, overlap))
    assert scores["velocity_mae"] == scores["velocity_bias"] == 5
    assert scores["velocity_std"] == 0
    assert scores["velocity_mae_fitted"] == pytest.approx(0, abs=1e-9)
    assert scores["onset_deviation_median_ms"] == pytest.approx(20)
    assert scores["onset_drift_ms_per_min"] == pytest.approx(40 * 60)
    # 1 s and 0.96 s of 4 s are found; 1 s, 1.26 s and 1 s sound in the estimate.
    assert scores["frame_recall"] == pytest.approx(1.96 / 4)
    assert scores["frame_precision"] == pytest.approx(1.96 / 3.26)
    assert (scores["n_ref_notes"], scores["n_est_notes"]) == (4, 3)


def test_a_lag_costs_onset_scores_but_not_the_centred_ones():
    reference = melody(30)
    late = Performance(
        tuple(Note(n.onset_s + 0.08, n.offset_s + 0.08, n.pitch, 64) for n in reference.notes)
    )
    scores = score_piece(reference, late, Conventions(onset_tolerances_s=(0.05, 0.1))).scores
    assert scores["onset_f1"] == 0
    assert scores["onset_f1_100ms"] == 1
    assert scores["onset_f1_centred"] == scores["onset_offset_f1_centred"] == 1
    assert scores["onset_deviation_median_ms"] == pytest.approx(80)
    assert scores["offset_deviation_median_ms"] == pytest.approx(80)
    assert scores["onset_drift_ms_per_min"] == pytest.approx(0, abs=1e-6)


def test_an_empty_side_scores_zero_and_has_no_velocity_error():
    for reference, estimate in ((melody(), notes()), (notes(), melody()), (notes(), notes())):
        scores = score_piece(reference, estimate, Conventions()).scores
        for family in ("onset", "onset_offset", "onset_velocity", "onset_offset_velocity"):
            assert_measures(scores, family, (0, 0, 0, 0))
        assert scores["frame_f1"] == 0
        assert scores["velocity_mae"] is None
        assert scores["onset_deviation_median_ms"] is None


PEDALLED = Performance(
    (Note(0.0, 0.5, 60, 64), Note(2.0, 2.5, 60, 64)),
    (PedalSpan(0.2, 1.5, 64), PedalSpan(3.0, 4.0, 64), PedalSpan(0.0, 1.0, 67)),
)


def test_pedal_scores_are_those_of_presses_and_of_the_time_held():
    pedals = (PedalSpan(0.22, 1.5, 64), PedalSpan(3.0, 3.5, 64), PedalSpan(5.0, 5.5, 64))
    estimate = Performance(PEDALLED.notes, pedals)
    scores = score_piece(PEDALLED, estimate, Conventions(pedal_extend="none")).scores
    first_overlap = 1.28 / 1.3
    assert_measures(scores, "pedal_onset", (2 / 3, 1, 4 / 5, (first_overlap + 0.5) / 2))
    assert_measures(scores, "pedal_onset_offset", (1 / 3, 1 / 2, 2 / 5, first_overlap))
    assert scores["pedal_frame_precision"] == pytest.approx(1.78 / 2.28)
    assert scores["pedal_frame_recall"] == pytest.approx(1.78 / 2.3)
    # The reference presses the soft pedal and the estimate does not: that is a 0, not a gap.
    assert_measures(scores, "soft_pedal_onset", (0, 0, 0, 0))


def test_a_reference_without_pedal_has_no_pedal_scores():
    scores = score_piece(Performance(PEDALLED.notes), PEDALLED, Conventions()).scores
    assert not any("pedal" in name for name in scores)


def test_the_pedal_prolongs_the_notes_of_whom_the_convention_says():
    ends = {
        extend: [side.offsets_s.tolist() for side in sides]
        for extend in ("ref,est", "ref", "none")
        for sides in [compared_notes(PEDALLED, PEDALLED, Conventions(pedal_extend=extend))]
    }
    extended, as_played = [1.5, 2.5], [0.5, 2.5]
    assert ends == {
        "ref,est": [extended, extended],
        "ref": [extended, as_played],
        "none": [as_played, as_played],
    }


def test_a_score_informed_estimate_has_velocity_errors_of_all_notes():
    reference = melody(20)
    loud_and_late = Performance(
        tuple(
            Note(n.onset_s + 0.3 * (k % 2), n.offset_s + 1, n.pitch, n.velocity + k)
            for k, n in enumerate(reference.notes)
        )
    )
    scores = score_piece(reference, loud_and_late, Conventions(score_informed=True)).scores
    assert scores["velocity_all_mae"] == pytest.approx(np.mean(range(20)))
    assert scores["velocity_mae"] == pytest.approx(np.mean(range(0, 20, 2)))
    with pytest.raises(AmtError, match="leave out --velocity"):
        score_piece(reference, melody(20, seed=1), Conventions(score_informed=True))


def test_a_label_roll_is_scored_on_its_own_grid():
    # 40 ms apart is a hit on continuous times; on a grid of 64 ms both fall into frame 16.
    reference, estimate = notes((1.0, 1.5, 60)), notes((1.04, 1.5, 60))
    conventions = Conventions(grid_s=0.064, onset_tolerances_s=(0.01,))
    assert (
        score_piece(reference, estimate, Conventions(onset_tolerances_s=(0.01,))).scores["onset_f1"]
        == 0
    )
    scores = score_piece(reference, estimate, conventions).scores
    assert scores["onset_f1"] == scores["frame_f1"] == 1
    assert scores["onset_deviation_median_ms"] == 0

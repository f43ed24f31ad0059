import sys
import tracemalloc

import mir_eval
import numpy as np
import pytest
from evaluation_data import arrays

from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.matching import (
    MatchRule,
    match_notes,
    onset_offset_rule,
    onset_rule,
    velocity_matching,
)
from amtcli.evaluation.note_arrays import NoteArrays

hz = mir_eval.util.midi_to_hz


def random_notes(rng, n):
    """Dense notes on few keys, on a grid of 5 ms so that distances fall on the tolerances."""
    onset_s = np.sort(rng.integers(0, 400, n)) * 0.005
    offset_s = onset_s + rng.integers(1, 60, n) * 0.005
    pitches = rng.integers(60, 64, n).astype(float)
    return NoteArrays(
        np.column_stack([onset_s, offset_s]), pitches, rng.integers(1, 128, n).astype(float)
    )


def mir_eval_pairs(ref, est, rule):
    unit = hz if rule.pitch_unit == "hz" else np.asarray
    return mir_eval.transcription.match_notes(
        ref.intervals,
        unit(ref.pitches),
        est.intervals,
        unit(est.pitches),
        onset_tolerance=rule.onset_tolerance_s,
        offset_ratio=rule.offset_ratio,
        offset_min_tolerance=rule.offset_min_s,
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "rule",
    [
        MatchRule(0.05),
        MatchRule(0.05, 0.2, 0.05),
        MatchRule(0.1, 0.1, 0.03),
        MatchRule(0.05, pitch_unit="midi"),
    ],
)
def test_the_matching_is_mir_evals_pair_for_pair(seed, rule):
    rng = np.random.default_rng(seed)
    ref, est = random_notes(rng, 150), random_notes(rng, 170)
    matching = match_notes(ref, est, rule)
    assert [tuple(pair) for pair in matching.tolist()] == mir_eval_pairs(ref, est, rule)
    assert len(matching) > 50


def test_the_order_of_the_notes_in_a_file_does_not_matter_for_how_many_match():
    rng = np.random.default_rng(5)
    ref, est = random_notes(rng, 150), random_notes(rng, 170)
    shuffled = rng.permutation(len(est))
    other = NoteArrays(est.intervals[shuffled], est.pitches[shuffled], est.velocities[shuffled])
    for rule in (MatchRule(0.05), MatchRule(0.05, 0.2, 0.05)):
        pairs = match_notes(ref, other, rule)
        assert [tuple(pair) for pair in pairs.tolist()] == mir_eval_pairs(ref, other, rule)
        assert len(pairs) == len(match_notes(ref, est, rule))


def test_pairs_compared_in_portions_are_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    ref, est = random_notes(rng, 150), random_notes(rng, 170)
    at_once = match_notes(ref, est, MatchRule(0.05))
    monkeypatch.setattr("amtcli.evaluation.matching.N_PAIRS_AT_ONCE", 7)
    np.testing.assert_array_equal(match_notes(ref, est, MatchRule(0.05)), at_once)


def test_a_distance_of_the_tolerance_is_a_hit_and_a_tenth_of_a_millisecond_more_is_not():
    ref = arrays((1.0, 2.0, 60))
    assert len(match_notes(ref, arrays((1.05, 2.0, 60)), MatchRule(0.05))) == 1
    assert len(match_notes(ref, arrays((1.05004, 2.0, 60)), MatchRule(0.05))) == 1
    assert len(match_notes(ref, arrays((1.0501, 2.0, 60)), MatchRule(0.05))) == 0


def test_an_offset_may_be_off_by_the_larger_of_ratio_and_minimum():
    conventions = Conventions(offset_ratio=0.2, offset_min_s=0.05)
    rule = onset_offset_rule(conventions, 0.05)
    long, short = arrays((1.0, 2.0, 60)), arrays((1.0, 1.1, 60))
    assert len(match_notes(long, arrays((1.0, 2.2, 60)), rule)) == 1
    assert len(match_notes(long, arrays((1.0, 2.21, 60)), rule)) == 0
    assert len(match_notes(short, arrays((1.0, 1.15, 60)), rule)) == 1
    assert len(match_notes(short, arrays((1.0, 1.16, 60)), rule)) == 0


def test_pitches_in_midi_numbers_let_a_semitone_pass_from_key_35_up():
    for pitch, n_hits in ((34, 0), (35, 1), (60, 1)):
        ref, est = arrays((1.0, 2.0, pitch)), arrays((1.0, 2.0, pitch + 1))
        wrong = onset_rule(Conventions(pitch_unit="midi"), 0.05)
        assert len(match_notes(ref, est, wrong)) == n_hits
        assert len(match_notes(ref, est, onset_rule(Conventions(), 0.05))) == 0


def test_nothing_to_match():
    empty, one = arrays(), arrays((0.0, 1.0, 60))
    for ref, est in ((empty, one), (one, empty), (empty, empty)):
        assert match_notes(ref, est, MatchRule(0.05)).shape == (0, 2)


def test_300_000_spurious_notes_take_little_memory():
    rng = np.random.default_rng(0)
    n_spurious = 300_000
    ref = arrays(*((0.5 * k, 0.5 * k + 0.4, 40 + k % 40) for k in range(1200)))
    onset_s = rng.uniform(0, 600, n_spurious)
    est = NoteArrays(
        np.column_stack([onset_s, onset_s + 0.1]),
        rng.integers(21, 109, n_spurious).astype(float),
        np.full(n_spurious, 64.0),
    )
    tracemalloc.start()
    matching = match_notes(ref, est, MatchRule(0.05))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(matching) > 400
    # One of mir_eval's matrices would be 1200 x 300,000 x 8 = 2.9 GB.
    assert peak_bytes < 400e6


def test_a_stuck_key_takes_little_memory():
    n_stuck = 60_000
    ref = arrays(*((0.5 * k, 0.5 * k + 0.4, 60) for k in range(1200)))
    onset_s = np.arange(n_stuck) * 0.01
    est = NoteArrays(
        np.column_stack([onset_s, onset_s + 0.01]), np.full(n_stuck, 60.0), np.full(n_stuck, 64.0)
    )
    assert len(match_notes(ref, est, MatchRule(0.05))) == 1200


def test_a_path_through_thousands_of_notes_is_followed_to_its_end():
    # Each estimate lies between two references; read backwards, each first takes the wrong one.
    onsets = 1 + 0.3 * np.arange(3000)
    ref = arrays(*((t, t + 0.1, 60) for t in onsets))
    est = arrays(*((t, t + 0.1, 60) for t in [*(onsets[::-1] - 0.15), 0.9]))
    limit = sys.getrecursionlimit()
    assert len(match_notes(ref, est, MatchRule(0.2))) == 3000
    assert sys.getrecursionlimit() == limit


def test_velocities_are_compared_after_the_best_line():
    # The line goes through the mean of each pair: 10 to 25 and 50 to 100. Of the range of 100
    # the first two are then 0.05 off and the other two 0.2.
    ref = arrays((0, 1, 60, 20), (1, 2, 60, 30), (2, 3, 60, 80), (3, 4, 60, 120))
    est = arrays((0, 1, 60, 10), (1, 2, 60, 10), (2, 3, 60, 50), (3, 4, 60, 50))
    pairs = match_notes(ref, est, MatchRule(0.05))
    assert len(pairs) == 4
    assert velocity_matching(pairs, ref, est, 0.1).tolist() == [[0, 0], [1, 1]]
    assert len(velocity_matching(pairs, ref, est, 0.21)) == 4
    assert len(velocity_matching(pairs, ref, est, 0.04)) == 0


@pytest.mark.parametrize("seed", range(6))
def test_the_velocity_matching_is_mir_evals(seed):
    rng = np.random.default_rng(seed)
    ref, est = random_notes(rng, 150), random_notes(rng, 170)
    for scale in (1, 128):
        scaled = [NoteArrays(s.intervals, s.pitches, s.velocities / scale) for s in (ref, est)]
        pairs = velocity_matching(match_notes(ref, est, MatchRule(0.05)), *scaled, 0.1)
        expected = mir_eval.transcription_velocity.match_notes(
            ref.intervals,
            hz(ref.pitches),
            scaled[0].velocities,
            est.intervals,
            hz(est.pitches),
            scaled[1].velocities,
            offset_ratio=None,
        )
        assert [tuple(pair) for pair in pairs.tolist()] == [tuple(map(int, p)) for p in expected]
        assert 0 < len(pairs) < len(ref)

import pytest
from evaluation_data import arrays

from amtcli.evaluation.matching import MatchRule, match_notes
from amtcli.evaluation.scores import Counts, count_matches, pool


def test_measures_of_notes_frames_and_moments():
    notes = Counts(6, 10, 8, overlap_sum=4.5).measures()
    assert notes == pytest.approx(
        {"precision": 0.75, "recall": 0.6, "f1": 2 * 6 / 18, "overlap": 0.75}
    )
    frames = Counts(6, 10, 8).measures()
    assert frames["accuracy"] == pytest.approx(6 / 12)
    assert "overlap" not in frames
    moments = Counts(6, 10, 8, are_moments=True).measures()
    assert moments == {"precision": 0.75, "recall": 0.6, "f1": pytest.approx(2 * 6 / 18)}


def test_nothing_against_something_is_zero_not_an_error():
    for counts in (Counts(0, 0, 5, 0.0), Counts(0, 5, 0, 0.0), Counts(0, 0, 0, 0.0)):
        assert set(counts.measures().values()) == {0}


def test_the_overlap_ratio_of_a_pair():
    ref, est = arrays((1.0, 2.0, 60)), arrays((1.02, 2.5, 60))
    counts = count_matches(match_notes(ref, est, MatchRule(0.05)), ref, est)
    assert counts.overlap_sum == pytest.approx(0.98 / 1.5)


def test_pooling_weighs_pieces_by_their_notes():
    pooled = pool([Counts(90, 100, 100, 80.0), Counts(0, 10, 10, 0.0)])
    assert pooled.measures() == pytest.approx(
        {"precision": 90 / 110, "recall": 90 / 110, "f1": 90 / 110, "overlap": 80 / 90}
    )
    assert pool([Counts(1, 2, 2)]).overlap_sum is None
    moments = [Counts(1, 2, 2, are_moments=True), Counts(0, 1, 0, are_moments=True)]
    assert pool(moments) == Counts(1, 3, 2, are_moments=True)

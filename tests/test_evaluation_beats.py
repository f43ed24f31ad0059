import mir_eval
import numpy as np
import pytest
from evaluation_data import melody

from amtcli.evaluation.aggregation import aggregate
from amtcli.evaluation.beats import compared_dynamics, dynamics_scores
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.piece import score_piece
from amtcli.notes import DYNAMICS, Beat, Performance

ALL_SCORES = {
    *(f"{of}_{m}" for of in ("beat", "downbeat", "change") for m in ("precision", "recall", "f1")),
    "dynamics_accuracy",
    "dynamics_f1",
}


def scored(reference, estimate, **conventions):
    sides = (Performance((), (), tuple(beats)) for beats in (reference, estimate))
    return score_piece(*sides, Conventions(**conventions))


def of_beats(scores):
    families = ("beat_", "downbeat_", "change_", "dynamics_")
    return {name: value for name, value in scores.items() if name.startswith(families)}


def random_beats(rng, mean_s):
    times_s = np.cumsum(rng.exponential(mean_s, size=rng.integers(1, 120)))
    return [
        Beat(time_s, rng.random() < 0.3, str(rng.choice(DYNAMICS)), rng.random() < 0.2)
        for time_s in times_s.tolist()
    ]


@pytest.mark.parametrize("seed", range(30))
def test_f1_is_mir_evals(seed):
    rng = np.random.default_rng(seed)
    reference = random_beats(rng, 0.3)
    moved = [Beat(b.onset_s + rng.normal(0, 0.06), rng.random() < 0.5) for b in reference]
    # Some are missed, and others, which may be as close to one another as they like, too many.
    estimate = [beat for beat in moved if rng.random() < 0.8] + random_beats(rng, 0.5)
    estimate.sort(key=lambda beat: beat.onset_s)
    scores = scored(reference, estimate).scores
    for family, wanted in (
        ("beat", lambda beat: True),
        ("downbeat", lambda beat: beat.is_downbeat),
        ("change", lambda beat: beat.is_change),
    ):
        ref, est = (
            mir_eval.beat.trim_beats(np.array([b.onset_s for b in side if wanted(b)]))
            for side in (reference, estimate)
        )
        if len(ref):
            assert scores[f"{family}_f1"] == mir_eval.beat.f_measure(ref, est)
        else:
            assert f"{family}_f1" not in scores


def test_scores_that_can_be_checked_on_paper():
    reference = [
        Beat(4.9, True, "p", True),
        Beat(6.0, True, "p"),
        Beat(7.0, False, "f", True),
        Beat(8.0, False, "f"),
        Beat(9.0, True, "f"),
    ]
    estimate = [
        Beat(4.99, True, "ff", True),  # in the first 5 seconds
        Beat(6.06, True, "p", True),
        Beat(7.08, False, "f", True),  # 80 ms late
        Beat(8.0, True, "f"),
        Beat(8.95, True, "p", True),
        Beat(9.5, False, "p"),
    ]
    scores = of_beats(scored(reference, estimate).scores)
    assert scores.keys() == ALL_SCORES
    assert (scores["beat_precision"], scores["beat_recall"]) == (3 / 5, 3 / 4)
    assert scores["beat_f1"] == pytest.approx(2 / 3)
    assert (scores["downbeat_precision"], scores["downbeat_recall"]) == (2 / 3, 1)
    assert (scores["change_precision"], scores["change_recall"], scores["change_f1"]) == (0, 0, 0)
    # Matched: p as p, f as f, f as p. F1 of p and of f is 2/3; p is one of three, f two.
    assert scores["dynamics_accuracy"] == pytest.approx(2 / 3)
    assert scores["dynamics_f1"] == pytest.approx(2 / 3)


def test_classes_weigh_as_often_as_the_reference_has_them():
    # pp: 1 of 1, said once too often; mf: 2 of 3, said rightly; ff: 0 of 1, said for mf.
    classes = np.array([(0, 0), (2, 2), (2, 2), (2, 4), (4, 0)])
    scores = dynamics_scores(classes)
    assert scores["accuracy"] == 3 / 5
    assert scores["f1"] == pytest.approx((1 * 2 / 3 + 3 * 4 / 5 + 1 * 0) / 5)


def test_dynamics_count_where_both_sides_know_them_on_one_beat():
    reference = [Beat(6.0), Beat(7.0, False, "mf"), Beat(8.0, False, "pp"), Beat(9.0, False, "ff")]
    estimate = [Beat(6.0, False, "ff"), Beat(7.0), Beat(8.02, False, "pp"), Beat(9.2, False, "ff")]
    assert compared_dynamics(reference, estimate).tolist() == [[2, -1], [0, 0], [4, -1]]
    scores = scored(reference, estimate).scores
    assert scores["dynamics_accuracy"] == scores["dynamics_f1"] == 1
    assert scores["beat_recall"] == 3 / 4


def test_an_estimate_without_beats_scores_zero():
    reference = [Beat(6.0, True, "p"), Beat(7.0, False, "f", True)]
    scores = of_beats(scored(reference, []).scores)
    assert scores == dict.fromkeys(ALL_SCORES, 0)


def test_what_the_reference_does_not_have_has_no_score():
    estimate = [Beat(6.0, True, "p", True)]
    assert of_beats(scored([], estimate).scores) == {}
    assert of_beats(scored([Beat(4.9, True, "p", True)], estimate).scores) == {}
    plain = scored([Beat(4.0, True, "p", True), Beat(6.0)], estimate).scores
    assert of_beats(plain) == {"beat_precision": 1, "beat_recall": 1, "beat_f1": 1}


def test_beats_change_no_other_score():
    notes = melody()
    with_beats = Performance(notes.notes, notes.pedals, (Beat(6.0, True, "p", True),))
    plain = score_piece(notes, notes, Conventions()).scores
    scores = score_piece(with_beats, notes, Conventions()).scores
    assert list(plain.items()) == [
        (name, value) for name, value in scores.items() if name not in ALL_SCORES
    ]


def test_a_score_informed_estimate_has_the_references_own_beats():
    beats = [Beat(6.0, True, "p", True)]
    assert of_beats(scored(beats, beats, score_informed=True).scores) == {}


def test_pooling_weighs_pieces_by_their_beats():
    def piece(n_beats, n_right):
        reference = [Beat(5.0 + k, k == 0, "mf", k == 0) for k in range(n_beats)]
        estimate = [Beat(5.0 + k, k == 0, "mf" if k else "f", k == 0) for k in range(n_right)]
        return scored(reference, estimate)

    pieces = [piece(8, 8), piece(2, 1), scored([], []), piece(3, 0)]
    found = aggregate(pieces)
    assert found["beat_recall"].mean == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found["beat_recall"].n == 3
    assert found["beat_recall"].pooled == 9 / 13
    assert found["beat_precision"].pooled == 1
    assert found["dynamics_accuracy"].mean == pytest.approx((7 / 8 + 0 + 0) / 3)
    assert found["dynamics_accuracy"].pooled == 7 / 9
    assert "beat_accuracy" not in found and "beat_overlap" not in found

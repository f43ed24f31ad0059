import numpy as np
import pytest
from evaluation_data import melody, notes

from amtcli.evaluation.aggregation import aggregate, bootstrap_interval
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.piece import score_piece


def scored(reference, estimate):
    return score_piece(reference, estimate, Conventions())


def test_mean_and_deviation_over_pieces_and_all_notes_pooled():
    good = scored(notes((0, 1, 60), (1, 2, 62), (2, 3, 64)), notes((0, 1, 60), (1, 2, 62)))
    bad = scored(notes((0, 1, 60)), notes((0, 1, 61)))
    onset = aggregate([good, bad])["onset_f1"]
    assert onset.mean == pytest.approx((0.8 + 0) / 2)
    assert onset.std == pytest.approx(0.8 / np.sqrt(2))
    assert onset.n == 2
    assert onset.pooled == pytest.approx(2 * 2 / (4 + 3))
    assert aggregate([good, bad])["n_ref_notes"].pooled == 4


def test_a_score_that_a_piece_lacks_is_averaged_over_the_others():
    heard = scored(notes((0, 1, 60, 50)), notes((0, 1, 60, 58)))
    silent = scored(melody(), notes())
    mae = aggregate([heard, silent])["velocity_mae"]
    assert (mae.mean, mae.n, mae.std, mae.pooled) == (8, 1, None, 8)
    nothing = aggregate([silent])["velocity_mae"]
    assert (nothing.mean, nothing.n, nothing.pooled) == (None, 0, None)


def test_the_best_line_of_each_piece_is_not_pooled():
    piece = scored(melody(), melody())
    assert aggregate([piece, piece])["velocity_mae_fitted"].pooled is None
    assert aggregate([piece, piece])["velocity_mae"].pooled == 0


def test_velocities_and_deviations_are_pooled_over_notes():
    one = scored(notes((0, 1, 60, 50)), notes((0, 1, 60, 60)))
    three = scored(
        notes((0, 1, 60, 50), (1, 2, 62, 60), (2, 3, 64, 70)),
        notes((0, 1, 60, 52), (1, 2, 62, 62), (2, 3, 64, 72)),
    )
    mae = aggregate([one, three])["velocity_mae"]
    assert (mae.mean, mae.pooled) == (6, 4)


def test_the_interval_is_the_same_each_time_and_about_two_standard_errors():
    values = np.random.default_rng(1).normal(0.9, 0.05, 200)
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    error = values.std() / np.sqrt(200)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)

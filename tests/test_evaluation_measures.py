import numpy as np
import pytest

from amtcli.evaluation.measures import Samples, named_scores, pool_counts, pool_samples
from amtcli.evaluation.scores import Counts

ONSET = ("onset", "")


def test_scores_are_named_by_family_measure_and_suffix():
    counts = {ONSET: Counts(1, 2, 4, 0.5), ("pedal_onset_offset", "_100ms"): Counts(1, 1, 2, 1.0)}
    scores = named_scores(counts, Samples())
    assert scores["onset_precision"] == 0.25
    assert scores["pedal_onset_offset_precision_100ms"] == 0.5
    assert (scores["n_ref_notes"], scores["n_est_notes"]) == (2, 4)
    assert scores["velocity_mae"] is None
    assert "velocity_all_mae" not in scores


def test_samples_become_velocity_errors_and_deviations():
    samples = Samples(
        velocities=np.array([[50.0, 60], [60, 60]]),
        all_velocities=np.array([[50.0, 60], [60, 60], [70, 61]]),
        deviations_s=np.array([[0.01, -0.2], [0.03, -0.4]]),
        dynamics=np.array([[1, 1], [2, 1], [4, -1]]),
    )
    scores = named_scores({ONSET: Counts(2, 3, 3, 1.0)}, samples)
    assert (scores["velocity_mae"], scores["velocity_all_mae"]) == (5, pytest.approx(19 / 3))
    assert scores["onset_deviation_median_ms"] == pytest.approx(20)
    assert scores["offset_deviation_median_ms"] == pytest.approx(-300)
    assert scores["dynamics_accuracy"] == 0.5


def test_pooling_adds_what_each_piece_has():
    pedal = ("pedal_onset", "")
    pooled = pool_counts(
        [{ONSET: Counts(1, 2, 3, 1.0)}, {ONSET: Counts(4, 5, 6, 1.0), pedal: Counts(1, 1, 1, 1.0)}]
    )
    assert pooled[ONSET] == Counts(5, 7, 9, 2.0)
    assert pooled[pedal] == Counts(1, 1, 1, 1.0)
    one = Samples(velocities=np.array([[1.0, 2.0]]), dynamics=np.array([[3, -1]]))
    both = pool_samples([one, Samples(), one])
    assert both.velocities.tolist() == [[1, 2], [1, 2]]
    assert both.deviations_s.shape == (0, 2)
    assert both.dynamics.tolist() == [[3, -1], [3, -1]]

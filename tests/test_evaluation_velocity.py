import numpy as np
import pytest
from evaluation_data import arrays

from amtcli.errors import AmtError
from amtcli.evaluation.velocity import pair_in_order, velocity_errors


def test_errors_of_four_notes():
    found = velocity_errors(np.array([50.0, 60, 70, 80]), np.array([54.0, 58, 74, 78]))
    assert found["mae"] == 3
    assert found["bias"] == 1
    assert found["std"] == pytest.approx(3)
    assert found["r"] == pytest.approx(440 / np.sqrt(500 * 416))
    assert found["mae_of_mean"] == 10  # |15, 5, 5, 15|
    assert found["spread"] == pytest.approx(np.sqrt(416 / 500))


def test_a_line_takes_away_gain_and_offset():
    reference = np.array([30.0, 50, 70, 90])
    found = velocity_errors(reference, 0.5 * reference + 40)
    assert found["mae"] == 12.5  # |25, 15, 5, -5|
    assert found["mae_fitted"] == pytest.approx(0, abs=1e-9)
    assert found["r"] == pytest.approx(1)


def test_constant_velocities_have_no_correlation():
    found = velocity_errors(np.array([50.0, 60]), np.array([64.0, 64]))
    assert found["r"] is None
    assert found["mae_fitted"] == pytest.approx(5)
    assert found["spread"] == 0
    assert velocity_errors(np.array([64.0, 64]), np.array([50.0, 60]))["spread"] is None


def test_no_notes_have_no_error():
    assert set(velocity_errors(np.zeros(0), np.zeros(0)).values()) == {None}


def test_notes_of_a_key_are_paired_in_their_order_whatever_their_times():
    ref = arrays((0, 1, 60), (1, 2, 62), (2, 3, 60))
    est = arrays((5, 6, 60), (9, 10, 60), (9, 10, 62))
    assert sorted(pair_in_order(ref, est).tolist()) == [[0, 0], [1, 2], [2, 1]]


def test_notes_that_are_not_the_references_are_refused_by_key():
    ref = arrays((0, 1, 60), (1, 2, 62))
    with pytest.raises(AmtError, match="key 61 has 0 notes in the reference and 1 in the est"):
        pair_in_order(ref, arrays((0, 1, 60), (1, 2, 61)))

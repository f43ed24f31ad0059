import numpy as np
import pytest
from evaluation_data import arrays

from amtcli.evaluation.matching import MatchRule
from amtcli.evaluation.timing import (
    deviation_statistics,
    drift_ms_per_min,
    median_lag_s,
    without_lag,
)


def notes_at(onsets_s):
    return arrays(*((t, t + 0.1, 60 + k % 12) for k, t in enumerate(onsets_s)))


@pytest.mark.parametrize("lag_s", [-0.12, -0.03, 0.0, 0.04, 0.15])
def test_the_lag_is_found_beyond_the_tolerance(lag_s):
    onsets_s = 1 + 0.25 * np.arange(50)
    rng = np.random.default_rng(0)
    late = notes_at(onsets_s + lag_s + rng.normal(0, 0.005, 50))
    found_s = median_lag_s(notes_at(onsets_s), late, MatchRule(0.05))
    assert found_s == pytest.approx(lag_s, abs=0.002)


def test_repeated_notes_do_not_pull_the_median():
    # One key 0.15 s apart and 40 ms late: within 0.2 s each note has several partners.
    onsets_s = 1 + 0.15 * np.arange(40)
    reference = arrays(*((t, t + 0.1, 60) for t in onsets_s))
    late = arrays(*((t + 0.04, t + 0.14, 60) for t in onsets_s[1:]))
    assert median_lag_s(reference, late, MatchRule(0.05)) == pytest.approx(0.04)


def test_no_match_has_no_lag():
    assert median_lag_s(notes_at([1.0]), notes_at([5.0]), MatchRule(0.05)) == 0
    assert median_lag_s(arrays(), arrays(), MatchRule(0.05)) == 0


@pytest.mark.parametrize("lag_s", [0.3, -0.3])
def test_removing_a_lag_never_makes_a_time_negative(lag_s):
    reference, estimate = notes_at([0.5, 1.5]), notes_at([0.5 + lag_s, 1.5 + lag_s])
    moved = without_lag(reference, estimate, lag_s)
    np.testing.assert_allclose(moved[0].onsets_s, moved[1].onsets_s)
    assert min(side.intervals.min() for side in moved) >= 0.5 - abs(min(lag_s, 0))


def test_statistics_are_in_milliseconds():
    found = deviation_statistics(np.arange(101) / 1000)
    assert found == pytest.approx(
        {"median_ms": 50, "p05_ms": 5, "p25_ms": 25, "p75_ms": 75, "p95_ms": 95}
    )
    assert set(deviation_statistics(np.zeros(0)).values()) == {None}


def test_drift_is_the_slope():
    times_s = np.array([0.0, 30, 60, 90])
    assert drift_ms_per_min(times_s, 0.02 + times_s * 1e-4) == pytest.approx(6)
    assert drift_ms_per_min(times_s[:1], times_s[:1]) is None
    assert drift_ms_per_min(np.array([1.0, 1.0]), np.array([0.0, 0.1])) is None

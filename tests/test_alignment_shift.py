import numpy as np
import pytest

from amtcli.alignment.features import ONSETS_HZ, score_onsets
from amtcli.alignment.shift import measure_shift

# What is measured here is the method alone: both sides are scores.
LENGTH_S = 120.0


def random_notes(seed=0, n_notes=400):
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, LENGTH_S, n_notes)), rng.integers(40, 90, n_notes)


@pytest.mark.parametrize("bias_s", [0.0, 0.1234, -0.2, 7.5, -33.0])
@pytest.mark.parametrize("drift", [0.0, 0.001, -0.004])
def test_shift_and_drift_are_found(bias_s, drift):
    onsets_s, pitches = random_notes()
    heard_s = onsets_s * (1 + drift) + bias_s
    inside = heard_s >= 0
    shift = measure_shift(
        score_onsets(onsets_s, pitches), score_onsets(heard_s[inside], pitches[inside])
    )
    told_s = onsets_s[inside] * (1 + shift.drift) + shift.bias_s
    np.testing.assert_allclose(told_s, heard_s[inside], atol=2e-3)
    assert shift.drift == pytest.approx(drift, abs=2e-5)
    assert shift.agreement > (0.6 if bias_s == -33.0 else 0.9)  # of which a quarter is not there
    assert shift.prominence > 10


def test_repeats_elsewhere_do_not_mislead():
    # The same 20 s six times: most stretches fit in six places, but all of them in one only.
    onsets_s, pitches = random_notes()
    part = onsets_s < 20
    onsets_s = np.concatenate([onsets_s[part] + start for start in range(0, 120, 20)])
    pitches = np.tile(pitches[part], 6)
    shift = measure_shift(score_onsets(onsets_s, pitches), score_onsets(onsets_s + 0.3, pitches))
    assert shift.bias_s == pytest.approx(0.3, abs=2e-3)


def test_one_wrong_stretch_in_five_moves_nothing():
    onsets_s, pitches = random_notes()
    heard_s = onsets_s + 0.05 + np.where((onsets_s > 60) & (onsets_s < 84), 0.2, 0)
    shift = measure_shift(score_onsets(onsets_s, pitches), score_onsets(heard_s, pitches))
    assert shift.bias_s == pytest.approx(0.05, abs=5e-3)
    assert 0.7 < shift.agreement < 0.9


def test_other_music_does_not_stand_out():
    score, audio = (score_onsets(*random_notes(seed)) for seed in (1, 2))
    shift = measure_shift(score, audio)
    assert shift.agreement < 0.6
    assert shift.prominence < 6


def test_few_notes_give_a_rough_shift_and_no_drift():
    onsets_s, pitches = np.array([1.0, 3.2]), np.array([60, 65])
    audio = score_onsets(onsets_s + 0.11, pitches)
    shift = measure_shift(score_onsets(onsets_s, pitches), np.pad(audio, ((0, ONSETS_HZ), (0, 0))))
    assert shift.bias_s == pytest.approx(0.11, abs=0.03)
    assert shift.drift == 0

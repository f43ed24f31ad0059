import numpy as np
import pytest
from data_sets import RATE_HZ, irregular, melody, sound

from amtcli.datasets.fit import Lag, find_misfit, judge_lag, measure_lag
from amtcli.datasets.labels import BeatLabels, Labels, labels_of_performance
from amtcli.datasets.recording_file import to_int16
from amtcli.notes import Note, Performance


def samples_of(performance, shift_s=0.0, rate_hz=RATE_HZ):
    samples = sound(performance, rate_hz)
    n = round(abs(shift_s) * rate_hz)
    samples = np.pad(samples, (n, 0)) if shift_s > 0 else samples[n:]
    return to_int16([samples])[0]


@pytest.mark.parametrize("shift_s", [0.0, 0.03, 0.25, -0.25, 3.0, -3.0])
def test_a_shift_is_measured(shift_s):
    played = irregular(0)
    lag = measure_lag(
        samples_of(played, shift_s), RATE_HZ, labels_of_performance(played).notes, 0.1
    )
    assert lag.lag_s == pytest.approx(shift_s, abs=0.02)
    assert lag.correlation > 0.3
    problem = judge_lag(lag, 0.1)
    if abs(shift_s) > 0.1:
        side = "after" if shift_s > 0 else "before"
        assert problem == f"its sound comes {abs(lag.lag_s):.2f} s {side} its labels"
    else:
        assert problem is None


@pytest.mark.parametrize("rate_hz", [11025, 22050])
def test_a_rate_without_whole_steps_drifts_nowhere(rate_hz):
    lags = []
    for n_notes in (60, 300):
        played = irregular(0, n_notes)
        samples = samples_of(played, 0.25, rate_hz)
        lags.append(measure_lag(samples, rate_hz, labels_of_performance(played).notes, 0.1))
    assert lags[0].lag_s == pytest.approx(0.25, abs=0.03)
    assert lags[1].lag_s == pytest.approx(lags[0].lag_s, abs=0.002)
    assert lags[1].correlation == pytest.approx(lags[0].correlation, abs=0.02)


def test_labels_of_another_piece_are_found_out():
    lag = measure_lag(
        samples_of(irregular(0)), RATE_HZ, labels_of_performance(irregular(1)).notes, 0.1
    )
    assert judge_lag(lag, 0.1).startswith("its notes are not heard where its labels have them")


def test_a_regular_rhythm_fits_where_it_is_and_not_a_note_later():
    played = melody(n_notes=30, step_s=0.2)
    lag = measure_lag(samples_of(played), RATE_HZ, labels_of_performance(played).notes, 0.1)
    assert lag.lag_s == pytest.approx(0, abs=0.015)


def test_few_onsets_tell_nothing():
    chord = Performance(tuple(Note(0.5, 1.0, pitch, 70) for pitch in range(50, 70)))
    assert measure_lag(samples_of(chord), RATE_HZ, labels_of_performance(chord).notes, 0.1) is None
    assert judge_lag(None, 0.1) is None


def test_silence_fits_nothing():
    played = irregular(0)
    silence = np.zeros(len(samples_of(played)), np.int16)
    lag = measure_lag(silence, RATE_HZ, labels_of_performance(played).notes, 0.1)
    assert lag.correlation == 0
    assert judge_lag(lag, 0.1) is not None


def test_the_longest_lag_is_the_callers():
    assert judge_lag(Lag(0.15, 0.5), 0.2) is None
    assert judge_lag(Lag(0.15, 0.5), 0.1) == "its sound comes 0.15 s after its labels"


def misfit(n_samples, labels, stated_s=None):
    return find_misfit(n_samples, 1000, labels, stated_s)


def test_lengths_that_differ_are_told():
    labels = labels_of_performance(Performance((Note(1, 9, 60, 64), Note(10, 11, 62, 64))))
    assert misfit(11_000, labels) is None
    assert misfit(9_600, labels) is None  # the last note begins just after the end
    assert misfit(9_400, labels) == "its labels go on to 10.0 s, its audio ends at 9.4 s"
    assert misfit(41_000, labels) is None
    assert misfit(42_000, labels) == "its audio goes on for 31 s after the last note"
    assert misfit(11_000, labels, 11.9) is None
    assert misfit(11_000, labels, 12.1) == "its audio lasts 11.0 s, the data set says 12.1 s"
    assert misfit(11_000, labels_of_performance(Performance())) == "there is nothing in its labels"


def test_beats_have_to_lie_in_the_audio_too():
    beats = BeatLabels(np.array([1.0, 2.0]), np.zeros(2, bool), np.zeros(2, np.int8))
    assert misfit(60_000, Labels(beats=beats)) is None
    assert misfit(1_400, Labels(beats=beats)).startswith("its labels go on to 2.0 s")

"""Notes gathered into strikes: what is together, and what is said of it."""

import numpy as np
import pytest

from amtcli.decoders.score_velocities import ScoreNotes, score_notes
from amtcli.networks.strikes import N_FEATURES, strikes_of
from amtcli.notes import Note, Performance

KEYS, VELOCITY, LOUDEST, LOWEST, HIGHEST, LONGEST, HELD, LEVEL, BEFORE, AFTER = range(10)
CLASSES, REGISTERS = slice(10, 22), slice(22, 44)


def strikes(*notes):
    """Notes given as (onset_s, length_s, pitch, velocity)."""
    return strikes_of(score_notes(Performance(tuple(Note(t, t + d, p, v) for t, d, p, v in notes))))


def test_what_follows_within_30_ms_is_one_strike_however_many_there_are():
    found = strikes(
        (1.0, 0.5, 60, 64), (1.025, 0.5, 64, 64), (1.05, 0.5, 67, 64), (1.09, 0.5, 72, 64)
    )
    np.testing.assert_allclose(found.onset_s, [1.025, 1.09])
    np.testing.assert_allclose(found.features[:, KEYS], [0.75, 0.25])


def test_every_feature_says_what_it_should():
    (first, second) = strikes(
        (0.0, 1.0, 48, 32), (0.01, 0.2, 60, 96), (0.505, 0.5, 21, 127)
    ).features  # fmt: skip
    assert first[VELOCITY] == pytest.approx(0.0)
    assert first[LOUDEST] == pytest.approx(0.5)
    assert (first[LOWEST], first[HIGHEST]) == pytest.approx((48 / 40 - 1.6, 60 / 40 - 1.6))
    assert first[LONGEST] == pytest.approx(np.log(2.0))
    assert first[HELD] == pytest.approx((np.log(2.0) + np.log(1.2)) / 2)
    assert first[LEVEL] == pytest.approx(np.log(0.25 + 2.25))
    assert first[BEFORE] == pytest.approx(np.log(0.5))
    assert first[AFTER] == second[BEFORE] == pytest.approx(np.log(0.5))
    assert first[CLASSES].tolist() == [2.0, *[0.0] * 11]
    assert second[CLASSES].tolist() == [*[0.0] * 9, 1.0, 0.0, 0.0]
    assert np.flatnonzero(first[REGISTERS]).tolist() == [6, 9]
    assert first[REGISTERS][[6, 9]] == pytest.approx([0.25, 0.75])
    assert np.flatnonzero(second[REGISTERS]).tolist() == [0]


def test_a_strike_is_the_same_later_and_in_whatever_order_its_notes_come():
    random = np.random.RandomState(0)
    n = 200
    onset_s = np.cumsum(random.uniform(0, 0.2, n))
    held_s = random.uniform(0.1, 2, n)
    pitch, velocity = random.randint(21, 109, n), random.randint(1, 128, n)

    def features(later_s, order):
        notes = ScoreNotes(
            onset_s + later_s, onset_s + later_s + held_s, onset_s + later_s + 9, pitch, velocity
        )
        return strikes_of(notes.select(order)).features

    found = features(0.0, np.arange(n))
    assert found.shape == (len(found), N_FEATURES) and 100 < len(found) < n
    np.testing.assert_allclose(features(1000.0, random.permutation(n)), found, atol=1e-4)


def test_far_and_near_are_limited_and_nothing_gives_nothing():
    found = strikes((0.0, 0.1, 60, 64), (90.0, 0.1, 60, 64)).features
    assert found[0, AFTER] == found[1, BEFORE] == pytest.approx(np.log(4.0))
    assert len(strikes_of(score_notes(Performance()))) == 0

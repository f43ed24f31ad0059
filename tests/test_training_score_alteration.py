"""Scores are altered as much as was asked for, and no more."""

from dataclasses import replace

import numpy as np
import pytest

from amtcli.decoders.score_velocities import ScoreNotes
from amtcli.training.score_alteration import ScoreAlterationConfig, alter_score

NONE = ScoreAlterationConfig(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
N = 4000


def played(n=N, pitch=None):
    random = np.random.RandomState(0)
    onset_s = np.sort(random.uniform(0, 400, n))
    length_s = random.uniform(0.1, 1, n)
    pitch = random.randint(40, 80, n) if pitch is None else np.full(n, pitch)
    velocity = random.randint(1, 128, n)
    return ScoreNotes(onset_s, onset_s + length_s, onset_s + 2 * length_s, pitch, velocity)


def altered(notes=None, seed=0, **changes):
    generator = np.random.default_rng(seed)
    return alter_score(played() if notes is None else notes, replace(NONE, **changes), generator)


def columns(notes):
    times = (notes.onset_s, notes.offset_s, notes.sounding_end_s)
    return np.stack([*times, notes.pitch, notes.velocity])


def test_nothing_asked_for_changes_nothing():
    np.testing.assert_array_equal(columns(altered()), columns(played()))
    unlikely = altered(probability=0.0, shift_s=9.0, missing_share=1.0, added_share=1.0)
    np.testing.assert_array_equal(columns(unlikely), columns(played()))


def test_half_of_the_windows_are_altered():
    seen = [
        len(altered(played(40), seed, probability=0.5, missing_share=0.5)) for seed in range(80)
    ]
    assert 25 < sum(n == 40 for n in seen) < 55


def test_a_shift_is_shared_and_jitter_is_not():
    notes = played(n=200, pitch=60)
    notes = replace(notes, onset_s=np.arange(200.0), offset_s=np.arange(200.0) + 0.5)
    shifts = [altered(notes, seed, shift_s=0.02).onset_s - notes.onset_s for seed in range(60)]
    assert np.ptp(shifts, axis=1).max() < 1e-9
    assert np.std([shift[0] for shift in shifts]) == pytest.approx(0.02, rel=0.3)
    jitter = altered(notes, jitter_s=0.02)
    assert np.std(jitter.onset_s - notes.onset_s) == pytest.approx(0.02, rel=0.2)
    np.testing.assert_allclose(jitter.offset_s - jitter.onset_s, 0.5)


def test_lengths_change_by_factors_that_are_bounded():
    notes = played()
    changed = altered(notes, length_spread=0.3)
    factor = (changed.offset_s - changed.onset_s) / (notes.offset_s - notes.onset_s)
    assert np.log(factor).std() == pytest.approx(0.3, rel=0.1)
    pedal = (changed.sounding_end_s - changed.onset_s) / (notes.sounding_end_s - notes.onset_s)
    np.testing.assert_allclose(pedal, factor)
    wild = altered(notes, length_spread=30.0)
    factor = (wild.offset_s - wild.onset_s) / (notes.offset_s - notes.onset_s)
    assert (factor.min(), factor.max()) == pytest.approx((0.25, 4.0))


def test_notes_go_missing():
    left = altered(missing_share=0.25)
    assert len(left) == pytest.approx(0.75 * N, rel=0.05)
    assert set(left.onset_s) < set(played().onset_s)


def test_added_notes_have_no_velocity_and_lie_where_transcriptions_find_them():
    notes = altered(played(pitch=60), added_share=0.25)
    ghosts = notes.select(notes.velocity == 0)
    assert len(ghosts) == pytest.approx(0.25 * N, rel=0.1)
    assert len(notes) - len(ghosts) == N
    assert set(ghosts.pitch) == {48, 60, 72, 79, 84}
    at_onsets = np.isin(ghosts.onset_s, played(pitch=60).onset_s)
    np.testing.assert_array_equal(at_onsets, ghosts.pitch != 60)
    assert (np.diff(notes.onset_s) >= 0).all()


def test_added_notes_stay_on_the_keyboard():
    notes = altered(played(pitch=108), added_share=1.0)
    assert set(notes.pitch) == {96, 108}


def test_a_score_without_notes_stays_so():
    assert len(altered(played(0), added_share=1.0, missing_share=0.5, shift_s=1.0)) == 0


def test_the_same_source_draws_the_same_score():
    changes = {"jitter_s": 0.01, "missing_share": 0.1, "added_share": 0.1}
    np.testing.assert_array_equal(columns(altered(**changes)), columns(altered(**changes)))
    assert len(altered(**changes)) != len(altered(seed=1, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"missing_share": 1.1}, "missing_share"), ({"jitter_s": -0.1}, "negative")],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(NONE, **changes)

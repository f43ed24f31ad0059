import importlib.util

import numpy as np
import pytest

from amtcli.alignment import warping
from amtcli.alignment.features import score_features
from amtcli.alignment.warping import require_librosa, warp
from amtcli.errors import UsageError

# What is measured here is the method alone: both sides are scores.
LENGTH_S = 90.0


def music(move=lambda t: t):
    rng = np.random.default_rng(0)
    onsets_s = np.sort(rng.uniform(0.5, LENGTH_S, 300))
    pitches = rng.integers(40, 90, 300)
    return move(onsets_s), score_features(move(onsets_s), move(onsets_s + 0.4), pitches)


def rubato(times_s):
    """Never going back: 0.7 to 1.3 as fast as the score, in waves of 12 s."""
    return times_s + 0.3 * 12 / (2 * np.pi) * np.sin(2 * np.pi * times_s / 12)


def test_a_known_warp_is_found():
    (onsets_s, score), (played_s, audio) = music(), music(rubato)
    found = warp(score, audio)
    errors_s = np.abs(found.heard_at(onsets_s) - played_s)
    assert np.median(errors_s) < 0.01
    assert np.percentile(errors_s, 95) < 0.04
    assert found.similarity > 0.9


def test_a_bounded_matrix_finds_the_same_warp(monkeypatch):
    (onsets_s, score), (_, audio) = music(), music(rubato)
    whole = warp(score, audio).heard_at(onsets_s)
    # 1.7 frames per second, as in a piece of 20 minutes.
    monkeypatch.setattr(warping, "_MOST_ROUGH_CELLS", 22_000)
    bounded = warp(score, audio).heard_at(onsets_s)
    assert np.percentile(np.abs(bounded - whole), 95) < 0.02


def test_a_score_twice_as_fast_is_found():
    (onsets_s, score), (played_s, audio) = music(), music(lambda t: 2 * t + 3)
    errors_s = np.abs(warp(score, audio).heard_at(onsets_s) - played_s)
    assert np.percentile(errors_s, 95) < 0.08  # a frame of the score is two of the recording


@pytest.mark.parametrize("pause_s", [30.0, 80.0, 150.0])
def test_a_recording_may_go_on_for_long_while_the_score_stays(pause_s):
    (onsets_s, score), (played_s, audio) = music(), music(lambda t: t + pause_s * (t > 45))
    errors_s = np.abs(warp(score, audio).heard_at(onsets_s) - played_s)
    assert np.percentile(errors_s, 95) < 0.04


@pytest.mark.parametrize("onset_s", [1.0, 1.05, 1.16, 1.3])
def test_a_single_note_is_paired(onset_s):
    times_s = (onset_s, onset_s + 2)
    one = [score_features(np.array([t]), np.array([t + 1]), np.array([60])) for t in times_s]
    found = warp(*one)
    assert found.heard_at(np.array([onset_s])) == pytest.approx([onset_s + 2], abs=0.03)


@pytest.mark.parametrize("start_s", [1.0, 1.05, 1.16, 1.3])
def test_the_first_note_of_a_piece_is_where_it_is_heard(start_s):
    onsets_s = start_s + np.array([0.0, 0.7, 1.1, 1.9, 2.3, 3.2])
    pitches = np.array([60, 64, 67, 71, 62, 65])
    score, audio = (score_features(t, t + 0.4, pitches) for t in (onsets_s, onsets_s + 2.5))
    assert warp(score, audio).heard_at(onsets_s[:1]) == pytest.approx(onsets_s[:1] + 2.5, abs=0.02)


def test_without_librosa_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--align needs librosa: pip install 'amtcli\[align\]'"):
        require_librosa()

import numpy as np
import pytest
from score_windows import assign_notes

from amtcli.windows import WindowSpec

# Window k hears samples 4k-3 to 4k+6, and answers for 4k to 4k+3: its middle.
SPEC = WindowSpec(length_samples=10, hop_samples=4, padding_samples=3)


def places(windows, field):
    return [getattr(window, field).tolist() for window in windows]


def test_the_window_answers_in_whose_middle_a_note_begins():
    onsets = np.array([0, 3, 4, 7, 8, 11])
    windows = assign_notes(onsets, onsets + 1, SPEC, 12)
    assert len(windows) == SPEC.n_windows(12) == 5
    assert places(windows, "answered") == [[0, 1], [2, 3], [4, 5], [], []]


def test_a_window_sees_what_sounds_in_it():
    onsets, offsets = np.array([0, 0, 6, 7]), np.array([1, 100, 7, 8])
    windows = assign_notes(onsets, offsets, SPEC, 12)
    # Window 0 ends before sample 7; window 1 begins at 1, where note 0 has just ended.
    assert places(windows, "seen") == [[0, 1, 2], [1, 2, 3], [1, 2, 3], [1], [1]]


def test_a_note_without_length_and_one_outside_are_still_answered_and_seen():
    onsets = np.array([-50, 5, 500])
    windows = assign_notes(onsets, onsets, SPEC, 12)
    assert places(windows, "answered") == [[0], [1], [], [], [2]]
    assert [w.answered.tolist() for w in windows] == [
        np.intersect1d(w.answered, w.seen).tolist() for w in windows
    ]


@pytest.mark.parametrize(
    "spec",
    [SPEC, WindowSpec(10, 10, 0), WindowSpec(10, 3, 9), WindowSpec(10, 7, 0), WindowSpec(11, 4, 5)],
)
@pytest.mark.parametrize("n_samples", [1, 9, 10, 11, 200])
def test_each_note_is_answered_exactly_once_whatever_the_windows(spec, n_samples):
    rng = np.random.default_rng(n_samples)
    onsets = rng.integers(0, n_samples, 100)
    windows = assign_notes(onsets, onsets + rng.integers(0, 50, 100), spec, n_samples)
    answered = np.concatenate([window.answered for window in windows])
    assert sorted(answered.tolist()) == list(range(100))
    for index, window in enumerate(windows):
        start = spec.start_samples(index)
        inside = (onsets[window.answered] >= start) & (
            onsets[window.answered] < start + spec.length_samples
        )
        assert inside.all()  # what a window answers for begins in it


def test_an_empty_score_gives_empty_windows():
    nothing = np.zeros(0, np.int64)
    windows = assign_notes(nothing, nothing, SPEC, 12)
    assert places(windows, "answered") == places(windows, "seen") == [[]] * 5

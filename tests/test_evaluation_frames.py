import numpy as np
import pytest
from evaluation_data import arrays

from amtcli.evaluation.frames import count_durations, count_frames
from amtcli.evaluation.note_arrays import NoteArrays


def test_durations_are_counted_per_key_and_overlaps_once():
    ref = arrays((0, 2, 60), (1, 3, 60), (0, 1, 62))  # key 60 sounds 3 s, key 62 1 s
    est = arrays((2.5, 4, 60), (0, 1, 64))
    counts = count_durations(ref, est)
    assert (counts.matched, counts.reference, counts.estimate) == pytest.approx((0.5, 4, 2.5))


def test_durations_against_sampling():
    rng = np.random.default_rng(0)

    def some(n):
        onset_ms = rng.integers(0, 3000, n)
        intervals = np.column_stack([onset_ms, onset_ms + rng.integers(1, 400, n)]) / 1000
        return NoteArrays(intervals, rng.integers(60, 63, n).astype(float), np.ones(n))

    ref, est = some(40), some(50)
    rolls = []
    for side in (ref, est):
        roll = np.zeros((3, 4000), bool)
        for (onset_s, offset_s), pitch in zip(side.intervals, side.pitches, strict=True):
            roll[int(pitch) - 60, round(1000 * onset_s) : round(1000 * offset_s)] = True
        rolls.append(roll)
    expected = [np.sum(rolls[0] & rolls[1]), np.sum(rolls[0]), np.sum(rolls[1])]
    in_frames = count_frames(ref, est, 0.001)
    assert [in_frames.matched, in_frames.reference, in_frames.estimate] == expected
    in_seconds = count_frames(ref, est, 0)
    assert in_seconds.matched == pytest.approx(expected[0] / 1000)


def test_a_note_lasts_from_the_nearest_frame_to_the_nearest_frame():
    counts = count_frames(arrays((0.014, 0.036, 60)), arrays((0.016, 0.034, 60)), 0.01)
    # Frames 1 to 3 and frames 2 to 3, the last one not included.
    assert (counts.matched, counts.reference, counts.estimate) == (1, 3, 1)


def test_no_notes():
    assert count_frames(arrays(), arrays((0, 1, 60)), 0.5).measures()["recall"] == 0
    assert count_frames(arrays(), arrays(), 0).reference == 0

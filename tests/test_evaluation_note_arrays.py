import numpy as np
from evaluation_data import arrays

from amtcli.evaluation.note_arrays import arrays_of_notes, arrays_of_spans
from amtcli.notes import Note, PedalSpan


def test_notes_keep_their_order_and_a_note_without_length_gets_a_millisecond():
    found = arrays_of_notes([Note(2, 2, 60, 70), Note(1, 1.0004, 62, 71)])
    np.testing.assert_allclose(found.intervals, [[2, 2.001], [1, 1.0004]])
    assert found.pitches.tolist() == [60, 62]
    assert found.velocities.tolist() == [70, 71]
    assert len(arrays_of_notes([])) == 0


def test_pedal_presses_share_one_pitch():
    found = arrays_of_spans([PedalSpan(0, 1, 64, 100), PedalSpan(2, 3, 67, 20)])
    assert len(set(found.pitches)) == 1
    assert found.onsets_s.tolist() == [0, 2]


def test_shifting_and_transposing_leave_the_original_alone():
    original = arrays((1, 2, 60))
    assert original.shifted(0.5).intervals.tolist() == [[1.5, 2.5]]
    assert original.transposed(-12).pitches.tolist() == [48]
    assert original.intervals.tolist() == [[1, 2]]
    assert original.pitches.tolist() == [60]

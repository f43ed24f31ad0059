"""Labels of a performance."""

from amtcli.datasets.labels import beat_labels, labels_of_performance
from amtcli.notes import Beat, Note, PedalSpan, Performance


def test_two_voices_on_one_key_are_one_note_the_loudest_to_the_latest_end():
    voices = (
        Note(1.0, 1.5, 60, 40),
        Note(1.0, 1.2, 60, 90),
        Note(1.0, 1.1, 64, 50),
        Note(2.0, 2.1, 60, 30),
    )
    notes = labels_of_performance(Performance(voices, (PedalSpan(1.4, 3.0, 64),))).notes
    assert notes.pitch.tolist() == [60, 64, 60]
    assert notes.velocity.tolist() == [90, 50, 30]
    assert notes.offset_s.tolist() == [1.5, 1.1, 2.1]
    # The pedal holds the joined note until its key is struck again.
    assert notes.sounding_end_s.tolist() == [2.0, 1.1, 3.0]


def test_beats_keep_their_dynamics_and_those_without_are_unknown():
    beats = (Beat(0.5, True, "ff"), Beat(1.0, False, "pp"), Beat(1.5))
    labels = labels_of_performance(Performance((), (), beats)).beats
    assert labels.time_s.tolist() == [0.5, 1.0, 1.5]
    assert labels.is_downbeat.tolist() == [True, False, False]
    assert labels.dynamics.tolist() == [4, 0, -1]
    assert labels_of_performance(Performance()).beats is None
    assert beat_labels(beats, 1.0).time_s.tolist() == [0.5]
    assert beat_labels(beats, 0.5) is None

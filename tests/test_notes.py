import pytest

from amtcli.notes import Beat, Note, PedalSpan, Performance, extend_by_pedal, sounding_ends_s


def note(onset_s, offset_s, pitch=60):
    return Note(onset_s, offset_s, pitch, 64)


def sustain(*spans):
    return tuple(PedalSpan(onset_s, offset_s, 64) for onset_s, offset_s in spans)


@pytest.mark.parametrize(
    ("spans", "end_s"),
    [
        ((), 2.0),
        (((1.0, 4.0),), 4.0),  # pressed while the key is down, released after it
        (((0.0, 4.0),), 4.0),  # pressed before the note
        (((2.0, 4.0),), 4.0),  # pressed in the moment of key-up
        (((2.1, 4.0),), 2.0),  # pressed after key-up: the damper has fallen
        (((1.0, 1.5),), 2.0),  # released while the key is down
        (((1.0, 2.0),), 2.0),
        (((0.5, 1.2), (1.5, 3.0), (3.5, 6.0)), 3.0),  # only the press of key-up counts
        (((0.5, 1.2), (2.5, 3.0)), 2.0),
        (((1.5, 3.0), (3.0, 6.0)), 3.0),  # lifted for a moment
        (((0.0, 5.0), (1.0, 1.5)), 5.0),  # overlapping presses: down until the last is over
    ],
)
def test_one_note_and_the_sustain_pedal(spans, end_s):
    assert sounding_ends_s(Performance((note(1.0, 2.0),), sustain(*spans))) == [end_s]
    assert sounding_ends_s(Performance((note(1.0, 2.0),), sustain(*spans[::-1]))) == [end_s]


def test_the_soft_pedal_holds_nothing():
    performance = Performance((note(1.0, 2.0),), (PedalSpan(0.0, 9.0, 67),))
    assert sounding_ends_s(performance) == [2.0]


def test_a_key_struck_again_ends_what_the_pedal_held():
    notes = (note(0.0, 0.5), note(1.0, 1.5), note(1.0, 1.5, pitch=61), note(3.0, 3.5))
    performance = Performance(notes, sustain((0.2, 4.0)))
    assert sounding_ends_s(performance) == [1.0, 3.0, 4.0, 4.0]
    assert sounding_ends_s(Performance(notes[::-1], performance.pedals)) == [4.0, 4.0, 3.0, 1.0]


def test_no_note_ends_before_its_key_up():
    # two channels may hold one pitch: the second strike does not end what a finger holds
    performance = Performance((note(0.0, 2.0), note(1.0, 3.0)), sustain((0.5, 2.5)))
    assert sounding_ends_s(performance) == [2.0, 3.0]


def test_extending_changes_offsets_only():
    performance = Performance(
        (Note(0.0, 0.5, 60, 10, confidence=0.25), Note(0.25, 3.0, 64, 20)),
        sustain((0.4, 2.0)),
        (Beat(0.25, True, dynamics="mf"),),
    )
    assert extend_by_pedal(performance) == Performance(
        (Note(0.0, 2.0, 60, 10, confidence=0.25), Note(0.25, 3.0, 64, 20)),
        performance.pedals,
        (Beat(0.25, True, dynamics="mf"),),
    )
    assert extend_by_pedal(Performance()) == Performance()

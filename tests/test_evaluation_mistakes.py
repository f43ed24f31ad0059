from evaluation_data import arrays

from amtcli.evaluation.matching import MatchRule, match_notes
from amtcli.evaluation.mistakes import find_mistakes, mistakes_csv

REFERENCE = arrays((1.0, 1.5, 60, 70), (2.0, 2.5, 64, 71), (3.0, 3.5, 67, 72), (4.0, 4.5, 50, 73))
ESTIMATE = arrays(
    (1.0, 1.5, 60, 80),
    (1.02, 1.4, 60, 30),  # once more: doubled
    (2.0, 2.5, 76, 81),  # an octave too high, and 64 is missed
    (3.0, 3.5, 67, 82),
    (3.01, 3.5, 43, 20),  # two octaves below a note that is found
    (3.02, 3.5, 61, 20),  # nothing like it is near
    (4.0, 4.5, 50, 83),
    (4.2, 4.5, 50, 20),  # the same key, but not at that time
)


def found():
    matching = match_notes(REFERENCE, ESTIMATE, MatchRule(0.05))
    return find_mistakes(REFERENCE, ESTIMATE, matching, 0.05)


def test_every_unmatched_note_is_listed_with_what_it_is():
    assert [(m.kind, m.onset_s, m.pitch, m.reference_pitch) for m in found()] == [
        ("doubled", 1.02, 60, 60),
        ("missed", 2.0, 64, None),
        ("octave", 2.0, 76, 64),
        ("octave", 3.01, 43, 67),
        ("extra", 3.02, 61, None),
        ("extra", 4.2, 50, None),
    ]


def test_nothing_is_wrong_with_a_perfect_estimate():
    matching = match_notes(REFERENCE, REFERENCE, MatchRule(0.05))
    assert find_mistakes(REFERENCE, REFERENCE, matching, 0.05) == []


def test_the_table():
    lines = mistakes_csv([("a, b", found()[:2])]).splitlines()
    assert lines == [
        "piece,kind,onset_s,offset_s,pitch,velocity,reference_pitch",
        '"a, b",doubled,1.0200,1.4000,60,30,60',
        '"a, b",missed,2.0000,2.5000,64,71,',
    ]

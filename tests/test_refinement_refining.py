import csv
import json
from pathlib import Path

import numpy as np
import pytest

from amtcli.alignment import Alignment, Warp
from amtcli.midi import performance_to_midi_bytes
from amtcli.midi_reading import read_score
from amtcli.notes import Note, PedalSpan, Performance
from amtcli.refinement.mapping import VelocityMapping
from amtcli.refinement.refining import Prepared, describe, prepare, refine
from amtcli.refinement.report import report_entries, write_report

NOTES = (Note(0.5, 1.0, 60, 40), Note(1.0, 1.5, 64, 80))
DATA = performance_to_midi_bytes(Performance(NOTES))
PLACEMENT = Alignment(0.25, 0.001, 0.9)


def prepared():
    return Prepared("a.mid", DATA, read_score(DATA), PLACEMENT, Performance(NOTES))


def test_read_velocities_are_written_and_told_note_by_note():
    refined = refine(prepared(), np.array([50.4, 200.0]), VelocityMapping())
    assert [note.velocity for note in read_score(refined.data).notes] == [50, 127]
    assert [(n.velocity_before, n.velocity_read, n.velocity_after) for n in refined.notes] == [
        (40, 50.4, 50), (80, 200.0, 127)
    ]  # fmt: skip
    assert refined.mean_change == (10 + 47) / 2


@pytest.mark.parametrize("read", [[1.0], [1.0, 2.0, 3.0], [np.inf, 1.0]])
def test_a_reader_that_does_not_answer_every_note_is_a_bug(read):
    with pytest.raises(ValueError, match="2 finite velocities or NaN are needed"):
        refine(prepared(), np.array(read), VelocityMapping())


def test_a_note_of_which_nothing_was_read_keeps_its_velocity():
    mapping = VelocityMapping(match=np.array([100.0]))
    refined = refine(prepared(), np.array([np.nan, 60.0]), mapping)
    assert [note.velocity for note in read_score(refined.data).notes] == [40, 100]
    assert [note.velocity_read for note in refined.notes] == [None, 60.0]
    (document,) = report_entries(Path("r.json"), refined)
    assert document["notes"][0]["velocity_read"] is None
    nothing = refine(prepared(), np.full(2, np.nan), VelocityMapping(keep_accents=True))
    assert nothing.data == DATA


def test_reports_hold_the_same_rows(tmp_path):
    refined = refine(prepared(), np.array([50.0, 60.0]), VelocityMapping(strength=0.5))
    table, listing = tmp_path / "r.csv", tmp_path / "r.json"
    for path, n_scores in ((table, 2), (listing, 1)):
        write_report(path, report_entries(path, refined) * n_scores)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["index"], row["velocity_after"]) for row in rows] == [("0", "45"), ("1", "70")] * 2
    (document,) = json.loads(listing.read_text())
    assert document["alignment"] == {"bias_s": 0.25, "drift": 0.001, "confidence": 0.9}
    for row, note in zip(rows, document["notes"], strict=False):
        assert row == {"score": "a.mid"} | {key: str(value) for key, value in note.items()}


def test_notes_and_pedals_are_heard_within_the_recording(tmp_path, demo_audio):
    # The recording of the demo, but 0.3 s earlier: notes at its very beginning are clipped.
    performance = read_score(demo_audio.with_suffix(".mid").read_bytes())
    early = Performance(
        tuple(Note(n.onset_s + 0.3, n.offset_s + 0.3, n.pitch, n.velocity)
              for n in performance.notes),
        tuple(PedalSpan(p.onset_s + 0.3, p.offset_s + 0.3, 64) for p in performance.pedals),
    )  # fmt: skip
    first = Note(0.1, 0.2, 40, 50)
    path = tmp_path / "late.mid"
    path.write_bytes(performance_to_midi_bytes(Performance((first, *early.notes), early.pedals)))
    found = prepare(path, demo_audio, "late.mid", warped=False)
    assert found.heard.notes[0].onset_s == found.heard.notes[0].offset_s == 0.0
    assert len(found.heard.notes) == len(found.score.notes) == len(performance.notes) + 1
    for heard, note in zip(found.heard.notes[1:], performance.notes, strict=True):
        assert (heard.pitch, heard.velocity) == (note.pitch, note.velocity)
        assert heard.onset_s == pytest.approx(note.onset_s, abs=0.015)
    for pedal, played in zip(found.heard.pedals, performance.pedals, strict=True):
        assert pedal.offset_s == pytest.approx(played.offset_s, abs=0.015)


@pytest.mark.parametrize(
    ("placement", "text"),
    [
        (Alignment(0.0234, 0.0, 1.0), "recording 23 ms behind the score"),
        (Alignment(-0.2, -0.00123, 1.0), "recording 200 ms ahead of the score, drift -0.123%"),
        (Alignment(0.0, 0.0, None), "too short to measure how the score lies"),
        (Warp(np.zeros(1), np.zeros(1), 0.6), "score warped onto the recording"),
    ],
)
def test_where_a_score_lies_is_said_in_words(placement, text):
    assert describe(placement).startswith(text)

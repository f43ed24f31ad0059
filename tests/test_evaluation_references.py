from dataclasses import replace

import mido
import pytest
from evaluation_data import melody, notes, write_midi, write_table

from amtcli.errors import DataError, MidiError
from amtcli.evaluation.references import described, read_note_file
from amtcli.notes import Beat, Note, PedalSpan, Performance


def table(tmp_path, *rows, header="# onset,offset,note,velocity"):
    path = tmp_path / "labels.tsv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_table_is_read_in_order_of_onset(tmp_path):
    path = table(tmp_path, "1.500000\t2.25\t64.000000\t90.000000", "0.5\t1\t60\t127", "")
    found = read_note_file(path)
    assert found.performance.notes == (Note(0.5, 1.0, 60, 127), Note(1.5, 2.25, 64, 90))
    assert found.performance.pedals == ()
    assert found.notices == ()


def test_a_table_without_a_header_loses_no_note(tmp_path):
    path = table(tmp_path, "1\t2\t62\t80", header="0.5\t1\t60\t80")
    assert [note.pitch for note in read_note_file(path).performance.notes] == [60, 62]


def test_a_table_and_the_same_notes_as_midi(tmp_path):
    performance = melody()
    as_table = read_note_file(write_table(tmp_path / "a.tsv", performance)).performance
    as_midi = read_note_file(write_midi(tmp_path / "a.mid", performance)).performance
    assert [(n.pitch, n.velocity) for n in as_table.notes] == [
        (n.pitch, n.velocity) for n in as_midi.notes
    ]
    assert as_table == performance


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1\t2\t261.63\t80", r"line 3: 261.63 is not a MIDI note number .* in Hz\?"),
        ("1\t2\t440\t80", r"line 3: 440 is not a MIDI note number .* in Hz\?"),
        ("1\t2\t60\t200", "line 3: 200 is not a MIDI velocity"),
        ("2\t1\t60\t80", "line 3: a note from 2 s to 1 s cannot be"),
        ("-1\t1\t60\t80", "line 3: a note from -1 s"),
        ("1\tnan\t60\t80", "line 3: a note from 1 s to nan s"),
        ("1\t2\t60", "line 3: expected onset, offset, note and velocity"),
        ("1,2,60,80", "line 3: expected onset"),
    ],
)
def test_a_bad_line_is_named(tmp_path, row, message):
    path = table(tmp_path, "0\t1\t60\t80", row)
    with pytest.raises(DataError, match=rf"labels\.tsv, {message}"):
        read_note_file(path)


def test_a_table_that_is_no_text(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="cannot be read as a label table"):
        read_note_file(path)


def test_odd_notes_are_kept_counted_and_named():
    odd = notes((0, 1, 60), (1, 1, 61), (2, 2, 62), (3, 4, 20), (5, 6, 109))
    found = described(odd)
    assert found.performance == odd
    assert (found.n_zero_length, found.n_out_of_range) == (2, 2)
    assert found.notices == (
        "2 notes without length, first 61 at 1.000 s, counted as notes of 1 ms",
        "2 notes outside the 88 keys (21-108), first 20 at 3.000 s, counted all the same",
    )
    assert described(notes()).notices == ("there are no notes in it",)


def two_hands(path, pedal_values=()):
    midi = mido.MidiFile(ticks_per_beat=480)
    conductor = [mido.MetaMessage("set_tempo", tempo=500_000)]
    right = [mido.Message("note_on", note=72, velocity=80)]
    right += [
        mido.Message("control_change", control=64, value=value, time=480) for value in pedal_values
    ]
    right += [mido.Message("note_off", note=72, time=960)]
    left = [
        mido.Message("note_on", note=48, velocity=60),
        mido.Message("note_off", note=48, time=480),
    ]
    midi.tracks += [mido.MidiTrack(track) for track in (conductor, right, left)]
    midi.save(path)
    return path


def test_several_tracks_are_merged_with_a_notice(tmp_path):
    found = read_note_file(two_hands(tmp_path / "hands.mid"))
    assert [note.pitch for note in found.performance.notes] == [48, 72]
    assert found.notices == ("the notes of 2 tracks are merged",)
    assert read_note_file(write_midi(tmp_path / "one.mid", melody())).notices == ()


def test_voices_that_meet_on_a_key_are_told():
    both = (Note(1.0, 1.5, 60, 40), Note(1.0, 1.2, 60, 90), Note(2.0, 2.1, 60, 30))
    (notice,) = described(Performance(both)).notices
    assert notice.startswith("2 notes at the moment of another of its key, first 60 at 1.000 s")


def test_the_pedal_is_down_from_the_threshold_on(tmp_path):
    path = two_hands(tmp_path / "pedal.mid", pedal_values=(20, 70, 20, 5))
    assert read_note_file(path).performance.pedals == (PedalSpan(1.0, 1.5, 64, 70),)
    low = read_note_file(path, pedal_threshold=8).performance
    assert [(span.onset_s, span.offset_s) for span in low.pedals] == [(0.5, 2.0)]
    high = read_note_file(path, pedal_threshold=100).performance
    assert high.pedals == ()


def test_several_tracks_in_a_file_that_says_it_has_one_change_nothing(tmp_path):
    path = two_hands(tmp_path / "pedal.mid", pedal_values=(20, 70, 20, 5))
    data = path.read_bytes()
    (tmp_path / "zero.mid").write_bytes(data[:9] + b"\x00" + data[10:])
    found = read_note_file(tmp_path / "zero.mid", pedal_threshold=8).performance
    assert found == read_note_file(path, pedal_threshold=8).performance


def test_a_midi_file_inside_riff(tmp_path):
    data = write_midi(tmp_path / "a.mid", melody()).read_bytes()
    (tmp_path / "riff.mid").write_bytes(b"RIFF\x00\x00\x00\x00RMIDdata\x00\x00\x00\x00" + data)
    riff = read_note_file(tmp_path / "riff.mid", pedal_threshold=8)
    assert riff.performance == read_note_file(tmp_path / "a.mid").performance


def test_a_damaged_midi_file_is_an_error(tmp_path):
    data = write_midi(tmp_path / "a.mid", melody()).read_bytes()
    (tmp_path / "cut.mid").write_bytes(data[:-20])
    with pytest.raises(MidiError, match=r"cut\.mid"):
        read_note_file(tmp_path / "cut.mid")


def test_beats_lie_in_a_file_beside(tmp_path):
    for write, name in ((write_table, "a.tsv"), (write_midi, "b.mid")):
        path = write(tmp_path / name, melody())
        plain = read_note_file(path).performance
        assert plain.beats == ()
        beats = path.with_suffix(".beats")
        beats.write_text("0.5 4\n1.0 1\n")
        found = read_note_file(path).performance
        assert found == replace(plain, beats=(Beat(0.5), Beat(1.0, True)))
        beats.write_text("0.5 4\n1.0\n")
        with pytest.raises(DataError, match=rf"{path.stem}\.beats, line 2: expected a time"):
            read_note_file(path)

import json

import pytest
from data_sets import TITLES, make_maestro, sound, write_audio
from data_sets import melody as played

from amtcli.datasets.maestro import find_maestro
from amtcli.errors import DataError, NoInputError, UsageError


@pytest.mark.parametrize(
    ("version", "style"),
    [
        ("1.0.0", "csv"),
        ("1.0.0", "rows"),
        ("2.0.0", "csv"),
        ("2.0.0", "rows"),
        ("3.0.0", "csv"),
        ("3.0.0", "columns"),
    ],
)
def test_every_version_and_list_gives_the_same(tmp_path, version, style):
    make_maestro(tmp_path, version, style)
    recordings = find_maestro(tmp_path).recordings
    assert [each.split for each in recordings] == ["train", "train", "validation", "test"]
    assert [each.group for each in recordings] == [f"Frédéric Chopin: {title}" for title in TITLES]
    assert recordings[1].name == "2006/MIDI-1_wav--1"
    assert recordings[1].duration_s == pytest.approx(1.85)
    assert [each.problem for each in recordings] == [None] * 4
    notes = recordings[3].read_labels().notes
    assert notes.pitch.tolist() == [note.pitch for note in played(3).notes]


def test_converted_audio_is_taken(tmp_path):
    rows = make_maestro(tmp_path)
    wav = tmp_path / rows[0]["audio_filename"]
    wav.unlink()
    flac = write_audio(wav.with_suffix(".flac"), sound(played(0)))
    assert find_maestro(tmp_path).recordings[0].audio == flac


def test_missing_files_are_named(tmp_path):
    rows = make_maestro(tmp_path)
    (tmp_path / rows[0]["audio_filename"]).unlink()
    (tmp_path / rows[2]["midi_filename"]).unlink()
    problems = [each.problem for each in find_maestro(tmp_path).recordings]
    assert problems == [
        "2004/MIDI-0_wav--1.wav is missing",
        None,
        "2004/MIDI-2_wav--1.midi is missing",
        None,
    ]


def test_the_csv_file_is_read_where_there_are_both(tmp_path):
    make_maestro(tmp_path, style="csv")
    (tmp_path / "maestro-v3.0.0.json").write_text("{}")
    assert len(find_maestro(tmp_path).recordings) == 4


def test_lists_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(NoInputError, match="holds no maestro-v"):
        find_maestro(tmp_path)
    path = tmp_path / "maestro-v3.0.0.json"
    path.write_text(json.dumps({"audio_filename": {"0": "a.wav"}}))
    with pytest.raises(DataError, match="there is no 'canonical_composer'"):
        find_maestro(tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match="download it again"):
        find_maestro(tmp_path)
    path.write_text("[]")
    with pytest.raises(DataError, match="lists no performances"):
        find_maestro(tmp_path)
    rows = make_maestro(tmp_path, style="rows")
    path.write_text(json.dumps([{**rows[0], "split": "dev"}]))
    with pytest.raises(DataError, match="in no known split, but in 'dev'"):
        find_maestro(tmp_path)
    path.write_text(json.dumps([{**rows[0], "duration": "long"}]))
    with pytest.raises(DataError, match="is no list of MAESTRO"):
        find_maestro(tmp_path)
    make_maestro(tmp_path, "2.0.0")
    with pytest.raises(UsageError, match=r"maestro-v2.0.0 and maestro-v3.0.0"):
        find_maestro(tmp_path)

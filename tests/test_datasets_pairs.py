import shutil

import pytest
from data_sets import make_pairs, make_smd, melody, sound, write_audio, write_tsv

from amtcli.datasets.pairs import find_pairs, find_smd
from amtcli.errors import NoInputError


def test_saarland_pairs_lie_in_folders_of_their_own(tmp_path):
    recordings = find_smd(make_smd(tmp_path), "test", 0.0).recordings
    assert [each.split for each in recordings] == ["test"] * 3
    assert [each.group for each in recordings] == [
        "Bach_BWV849-01",
        "Bach_BWV849-02",
        "Chopin_Op010-03",
    ]
    assert recordings[0].label_files[0].name == "Bach_BWV849-01_001_20090916-SMD.mid"
    assert recordings[2].read_labels().notes.pitch[0] == melody(2).notes[0].pitch


def test_midi_and_tables_make_pairs(tmp_path):
    recordings = find_pairs(make_pairs(tmp_path), "train", 0.0).recordings
    assert [each.name for each in recordings] == ["take0", "take1", "take2"]
    assert [each.label_files[0].suffix for each in recordings] == [".mid", ".tsv", ".mid"]
    assert [len(each.read_labels().notes) for each in recordings] == [6, 6, 6]


def test_folders_named_after_splits_decide(tmp_path):
    for folder in ("train", "sub/validation", "test", "other"):
        make_pairs(tmp_path / folder, n=1)
    recordings = find_pairs(tmp_path, "test", 0.0).recordings
    assert {each.name: each.split for each in recordings} == {
        "other/take0": "test",
        "sub/validation/take0": "validation",
        "test/take0": "test",
        "train/take0": "train",
    }


def test_nothing_is_held_out_of_a_folder_that_says_what_it_is_for(tmp_path):
    for folder in ("train", "other"):
        make_pairs(tmp_path / folder, n=2)
    recordings = find_pairs(tmp_path, "train", 1.0).recordings
    assert {each.name: each.split for each in recordings} == {
        "other/take0": "validation",
        "other/take1": "validation",
        "train/take0": "train",
        "train/take1": "train",
    }


@pytest.mark.parametrize("name", ["val", "Valid", "dev", "VALIDATION"])
def test_validation_has_several_names(tmp_path, name):
    make_pairs(tmp_path / name, n=1)
    (recording,) = find_pairs(tmp_path, "train", 0.0).recordings
    assert recording.split == "validation"


def test_a_folder_is_a_piece_where_files_are_all_called_the_same(tmp_path):
    for k in range(12):
        make_pairs(tmp_path / f"piece{k}", n=1)
    found = find_pairs(tmp_path, "train", 0.4)
    assert {each.group for each in found.recordings} == {f"piece{k}" for k in range(12)}
    assert {each.split for each in found.recordings} == {"train", "validation"}
    assert found.notices == ()


def test_a_name_is_a_piece_where_several_folders_have_it(tmp_path):
    for folder in ("close", "far"):
        make_pairs(tmp_path / folder, n=3)
    groups = [each.group for each in find_pairs(tmp_path, "train", 0.0).recordings]
    assert groups == ["take0", "take1", "take2"] * 2


def test_a_share_that_holds_nothing_out_is_told(tmp_path):
    make_pairs(tmp_path, n=2)
    (notice,) = find_pairs(tmp_path, "train", 1e-6).notices
    assert notice.startswith("nothing is held out")


def test_what_has_no_partner_is_counted(tmp_path):
    make_pairs(tmp_path, n=2)
    write_audio(tmp_path / "solo.wav", sound(melody()))
    write_tsv(tmp_path / "mute.tsv", melody())
    data_set = find_pairs(tmp_path, "train", 0.0)
    assert len(data_set.recordings) == 2
    assert data_set.notices == ("1 recordings without labels are left out, such as solo",)


def test_two_files_for_one_name_are_a_problem_of_that_recording(tmp_path):
    make_pairs(tmp_path, n=2)
    shutil.copy(tmp_path / "take0.wav", tmp_path / "take0.flac")
    write_tsv(tmp_path / "take1.mid", melody())
    problems = [each.problem for each in find_pairs(tmp_path, "train", 0.0).recordings]
    assert problems == ["there are take0.flac and take0.wav", "there are take1.mid and take1.tsv"]


def test_a_folder_without_pairs_is_refused(tmp_path):
    write_audio(tmp_path / "solo.wav", sound(melody()))
    with pytest.raises(NoInputError, match="holds no recording with a"):
        find_pairs(tmp_path, "train", 0.1)

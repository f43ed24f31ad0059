from collections import Counter

import pytest
from data_sets import MAPS_PIECES, make_flat_maps, make_maps, melody

from amtcli.datasets.maps import MapsOptions, find_maps, read_compositions
from amtcli.errors import DataError, NoInputError, UsageError


def splits(data_set):
    return Counter((each.instrument, each.split) for each in data_set.recordings)


@pytest.mark.parametrize("make", [make_maps, make_flat_maps])
def test_the_disklavier_tests_and_the_others_train(tmp_path, make):
    data_set = find_maps(make(tmp_path), MapsOptions())
    assert splits(data_set) == {
        ("AkPnBcht", "train"): 3,
        ("SptkBGCl", "train"): 3,
        ("ENSTDkAm", "test"): 3,
    }
    assert {each.group for each in data_set.recordings} == set(MAPS_PIECES)


def test_excluded_compositions_stay_in_the_test_alone(tmp_path):
    options = MapsOptions(
        excluded_compositions=frozenset({"chpn-p7"}), validation_instrument="SptkBGCl"
    )
    data_set = find_maps(make_maps(tmp_path), options)
    assert splits(data_set) == {
        ("AkPnBcht", "train"): 2,
        ("SptkBGCl", "validation"): 2,
        ("ENSTDkAm", "test"): 3,
    }
    assert data_set.notices == ("2 recordings of excluded compositions are left out",)


def test_labels_of_the_original_are_the_midi_files(tmp_path):
    first = find_maps(make_maps(tmp_path), MapsOptions()).recordings[0]
    assert first.name == "MAPS_MUS-alb_esp2_AkPnBcht"
    assert [path.suffix for path in first.label_files] == [".mid", ".txt"]
    labels = first.read_labels()
    assert labels.notes.velocity.tolist() == [note.velocity for note in melody(0).notes]
    assert len(labels.pedals) == 1


def test_a_midi_file_that_its_table_contradicts_is_refused(tmp_path):
    first = find_maps(make_maps(tmp_path), MapsOptions()).recordings[0]
    table = first.label_files[1]
    lines = table.read_text().splitlines()
    # One note less may be; two notes elsewhere may not.
    table.write_text("\n".join(lines[:-1]) + "\n")
    first.read_labels()
    moved = [f"{float(line.split()[0]) + 0.06}\t9\t{line.split()[2]}" for line in lines[1:3]]
    table.write_text("\n".join([lines[0], *moved, *lines[3:]]) + "\n")
    with pytest.raises(DataError, match="disagree on 2 notes"):
        first.read_labels()
    table.write_text("OnsetTime\nnonsense\n")
    with pytest.raises(DataError, match="is not a table of MAPS"):
        first.read_labels()


def test_other_parts_are_read_where_asked_for(tmp_path):
    make_maps(tmp_path, ("AkPnBcht",), part="ISOL")
    make_maps(tmp_path, ("AkPnBcht",))
    found = find_maps(tmp_path, MapsOptions()).recordings
    assert {each.name.split("-")[0] for each in found} == {"MAPS_MUS"}
    assert len(find_maps(tmp_path, MapsOptions(parts=("MUS", "ISOL"))).recordings) == 6
    with pytest.raises(UsageError, match="MAPS has no part XYZ"):
        find_maps(tmp_path, MapsOptions(parts=("XYZ",)))


def test_a_recording_without_labels_has_a_problem(tmp_path):
    make_flat_maps(tmp_path)
    (tmp_path / "train" / "alb_esp2_AkPnBcht.tsv").unlink()
    problems = [each.problem for each in find_maps(tmp_path, MapsOptions()).recordings]
    assert [problem for problem in problems if problem] == [
        "there is no alb_esp2_AkPnBcht.mid or alb_esp2_AkPnBcht.tsv beside it"
    ]


def test_what_cannot_be_asked_for_is_refused(tmp_path):
    with pytest.raises(NoInputError, match="holds no recordings of MAPS"):
        find_maps(tmp_path, MapsOptions())
    make_maps(tmp_path)
    with pytest.raises(UsageError, match="is of Steinway; there are AkPnBcht, SptkBGCl"):
        find_maps(tmp_path, MapsOptions(validation_instrument="Steinway"))


def test_a_list_of_compositions_is_read(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("alb_se2\n\n bk_xmas1 \n")
    assert read_compositions(path) == {"alb_se2", "bk_xmas1"}
    path.write_text("\n")
    with pytest.raises(UsageError, match="names no compositions"):
        read_compositions(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_compositions(tmp_path / "none.txt")


def test_the_shared_excerpt_follows_the_protocol_of_onsets_and_frames(shared_data):
    folder = shared_data / "maps"
    excluded = read_compositions(folder / "test_compositions.txt")
    found = find_maps(folder, MapsOptions(("MUS",), excluded, "SptkBGCl"))
    assert Counter(each.split for each in found.recordings) == {
        "train": 102,
        "validation": 19,
        "test": 23,
    }
    assert Counter(each.split for each in find_maps(folder, MapsOptions()).recordings) == {
        "train": 176,
        "test": 23,
    }
    assert not [each for each in found.recordings if each.problem]

from pathlib import Path

import pytest

from amtcli.errors import NoInputError, UsageError
from amtcli.evaluation.pairing import find_files, pair_names, pair_paths

MIDI = (".mid", ".midi")


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return folder


def paired(pairing):
    return {pair.name: pair.estimate and pair.estimate.as_posix() for pair in pairing.pairs}


def test_files_are_found_below_a_folder_without_hidden_ones(tmp_path):
    touch(tmp_path, "b.MID", "a/c.midi", "a/.d.mid", ".e/f.mid", "g.txt")
    assert list(find_files(tmp_path, MIDI)) == ["a/c", "b"]


def test_two_files_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "a.mid", "a.midi")
    with pytest.raises(UsageError, match=r"a\.mid and .*a\.midi have one name"):
        find_files(tmp_path, MIDI)


def names(*texts):
    return {text: Path(f"{text}.mid") for text in texts}


def test_pairs_go_by_path_then_by_bare_name():
    pairing = pair_names(names("x/a", "x/b", "c"), names("x/a", "b", "y/c"))
    assert paired(pairing) == {"c": "y/c.mid", "x/a": "x/a.mid", "x/b": "b.mid"}
    assert pairing.unused_estimates == ()


def test_a_bare_name_that_is_not_unique_pairs_nothing():
    pairing = pair_names(names("x/a", "y/a"), names("a"))
    assert paired(pairing) == {"x/a": None, "y/a": None}
    assert pairing.unused_estimates == (Path("a.mid"),)
    assert paired(pair_names(names("a"), names("x/a", "y/a"))) == {"a": None}


def test_a_dropped_file_moves_no_other_one_up():
    pairing = pair_names(names("a", "b", "c"), names("a", "c", "d"))
    assert paired(pairing) == {"a": "a.mid", "b": None, "c": "c.mid"}
    assert [pair.name for pair in pairing.missing] == ["b"]
    assert pairing.unused_estimates == (Path("d.mid"),)


def test_two_files_are_a_pair_whatever_their_names(tmp_path):
    touch(tmp_path, "a.mid", "b.tsv")
    pairing = pair_paths(tmp_path / "a.mid", tmp_path / "b.tsv", MIDI, MIDI)
    assert paired(pairing) == {"a": (tmp_path / "b.tsv").as_posix()}


def test_what_cannot_be_paired(tmp_path):
    touch(tmp_path, "ref/a.mid", "est/b.mid", "empty/c.txt")
    ref, est = tmp_path / "ref", tmp_path / "est"
    with pytest.raises(NoInputError, match=r"no file in .*est has the name of one in .*a\.mid"):
        pair_paths(ref, est, MIDI, MIDI)
    with pytest.raises(NoInputError, match="holds no references"):
        pair_paths(tmp_path / "empty", est, MIDI, MIDI)
    with pytest.raises(NoInputError, match="nothing does not exist"):
        pair_paths(ref, tmp_path / "nothing", MIDI, MIDI)
    with pytest.raises(UsageError, match="give two files or two folders"):
        pair_paths(ref, est / "b.mid", MIDI, MIDI)

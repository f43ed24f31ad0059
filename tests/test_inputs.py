import os
import sys
from pathlib import Path, PurePath

import pytest

from amtcli.errors import NoInputError, UsageError
from amtcli.inputs import find_inputs, parse_list


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder of files, which is also the current one."""
    for name in ("a.wav", "B.FLAC", "notes.txt", ".hidden.wav", "sub/c.mp3", ".git/d.wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*words, **options):
    return [found.name for found in find_inputs(words, **options).found]


def problems(*words, **options):
    return [found.problem for found in find_inputs(words, **options).found]


def test_folder_gives_its_visible_audio_files_in_order(tree):
    assert names(".") == ["B.FLAC", "a.wav"]
    assert find_inputs(["."]).plural


def test_recursive_search_enters_visible_folders_and_notes_the_way(tree):
    found = find_inputs([str(tree)], recursive=True).found
    assert [f.path.name for f in found] == ["B.FLAC", "a.wav", "c.mp3"]
    assert [f.tree for f in found] == [PurePath(), PurePath(), PurePath("sub")]


def test_named_file_is_taken_whatever_its_suffix(tree):
    inputs = find_inputs(["notes.txt"])
    assert [f.name for f in inputs.found] == ["notes.txt"]
    assert not inputs.plural


def test_tree_of_a_named_file_is_its_relative_path_as_written(tree):
    assert find_inputs(["sub/c.mp3"]).found[0].tree == PurePath("sub")
    assert find_inputs([str(tree / "sub/c.mp3")]).found[0].tree == PurePath()
    assert find_inputs(["sub/../a.wav"]).found[0].tree == PurePath()


def test_glob_that_the_shell_left_takes_audio_files_only(tree):
    assert names("*") == ["a.wav", "B.FLAC"] or names("*") == ["B.FLAC", "a.wav"]
    assert names("**/*.mp3") == [str(Path("sub/c.mp3"))]
    assert problems("*.ogg") == ["nothing matches this pattern"]


def test_glob_of_folders_searches_them(tree):
    assert names("s*b") == [str(Path("sub/c.mp3"))]


def test_existing_names_are_never_taken_as_patterns_or_lists(tree):
    for name in ("song[1].wav", "@home.wav", "what?.wav"):
        if sys.platform == "win32" and "?" in name:
            continue
        Path(name).touch()
        assert names(name) == [name]


def test_list_gives_paths_and_folders_literally(tree):
    Path("[x].wav").touch()
    Path("list.txt").write_bytes(b"\xef\xbb\xbf[x].wav\r\n\r\nsub\n*.wav\n")
    inputs = find_inputs(["@list.txt"])
    assert [f.name for f in inputs.found] == ["[x].wav", str(Path("sub/c.mp3")), "*.wav"]
    assert [f.problem for f in inputs.found] == [None, None, "no such file or folder"]
    assert inputs.plural


def test_list_from_standard_input(tree):
    assert names("@-", read_stdin=lambda: b"a.wav\0sub/c.mp3\0") == ["a.wav", "sub/c.mp3"]


def test_parse_list_keeps_newlines_and_undecodable_bytes_of_null_separated_names():
    entries = parse_list(b"one\ntwo.wav\0caf\xe9.wav\0")
    assert [os.fsencode(entry) for entry in entries] == [b"one\ntwo.wav", b"caf\xe9.wav"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be"])
def test_parse_list_reads_the_marks_of_windows_editors(encoding):
    mark = "" if encoding == "utf-8-sig" else "\ufeff"
    assert parse_list(f"{mark}絆.mp3\r\nb.wav\r\n".encode(encoding)) == ["絆.mp3", "b.wav"]


def test_missing_list_is_no_input(tree):
    with pytest.raises(NoInputError, match=r"@nothing\.txt: the list cannot be read"):
        find_inputs(["@nothing.txt"])


def test_problems_are_named(tree):
    Path("empty").mkdir()
    Path("dangling.wav").symlink_to("nowhere.wav")
    assert problems("no.wav", "empty", "dangling.wav") == [
        "no such file or folder",
        "no audio in this folder; -r searches the folders in it too",
        "a link that leads nowhere",
    ]
    assert problems("empty", recursive=True) == ["no audio in this folder"]


def test_name_too_long_is_a_problem_not_a_crash(tree):
    assert problems("x" * 300) == [os.strerror(36 if sys.platform == "linux" else 63)]


def test_standard_input_has_a_name_and_is_read_once(tree):
    (found,) = find_inputs(["-"], stdin_name="take 1").found
    assert (found.name, found.path) == ("take 1", None)
    with pytest.raises(UsageError, match="only one of the inputs"):
        find_inputs(["-", "@-"])


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are no text")
def test_names_in_no_encoding_are_found(tree):
    raw = os.fsencode(tree) + b"/sub/caf\xe9.wav"
    os.close(os.open(raw, os.O_CREAT))
    assert [os.fsencode(f.path.name) for f in find_inputs(["sub"]).found] == [
        b"c.mp3",
        b"caf\xe9.wav",
    ]

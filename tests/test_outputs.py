import os
from pathlib import Path

import pytest

from amtcli.errors import UsageError
from amtcli.inputs import find_inputs
from amtcli.outputs import OutputOptions, choose_target, has_content, parse_formats


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_files


def make_files(*names, data=b"x"):
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def outputs(*words, stdin_name="stdin", **options):
    """(recording, output) of every output that is chosen for ``words``."""
    mirror = options.get("mirror", False)
    inputs = find_inputs(words, recursive=mirror, stdin_name=stdin_name)
    target = choose_target(inputs, len(inputs.found), OutputOptions(**options))
    return [(found.name, output) for found in inputs.found for output in target.outputs_of(found)]


def targets(*words, **options):
    """(recording, path of an output), ``-`` for standard output."""
    return [
        (name, "-" if output.path is None else output.path.as_posix())
        for name, output in outputs(*words, **options)
    ]


# Where outputs go


def test_default_is_beside_the_recording(files):
    files("d/my.song.wav")
    assert targets("d/my.song.wav") == [("d/my.song.wav", "d/my.song.mid")]


def test_out_is_a_file_for_one_recording(files):
    files("a.wav")
    assert targets("a.wav", out="b.midi") == [("a.wav", "b.midi")]
    assert targets("a.wav", out="plain") == [("a.wav", "plain")]


def test_out_is_a_folder_if_it_is_one_or_ends_like_one(files):
    files("a.wav")
    assert targets("a.wav", out="new/") == [("a.wav", "new/a.mid")]
    Path("old.mid").mkdir()
    assert targets("a.wav", out="old.mid") == [("a.wav", "old.mid/a.mid")]


def test_out_is_a_folder_for_several_recordings_and_for_folders(files):
    files("a.wav", "d/b.wav")
    assert targets("a.wav", "d/b.wav", out="o") == [("a.wav", "o/a.mid"), ("d/b.wav", "o/b.mid")]
    assert targets("d", out="o") == [("d/b.wav", "o/b.mid")]
    assert targets("d", out="o.mid") == [("d/b.wav", "o.mid")]


def test_one_file_cannot_take_several_recordings(files):
    files("a.wav", "b.wav", "taken")
    for out in ("o.mid", "taken"):
        with pytest.raises(UsageError, match="one file, and there are 2 recordings"):
            targets("a.wav", "b.wav", out=out)


def test_mirrored_tree(files):
    files("in/a.wav", "in/x/b.wav", "in/x/y/c.wav")
    assert [out for _, out in targets("in", out="o", mirror=True)] == [
        "o/a.mid",
        "o/x/b.mid",
        "o/x/y/c.mid",
    ]


def test_formats_give_one_output_each(files):
    files("a.wav")
    both = ("mid", "json")
    assert [o for _, o in targets("a.wav", formats=both)] == ["a.mid", "a.json"]
    assert [o for _, o in targets("a.wav", formats=both, out="b.midi")] == ["b.midi", "b.json"]
    assert [o for _, o in targets("a.wav", formats=both, out="b.c")] == ["b.c.mid", "b.c.json"]


def test_suffix_of_out_chooses_the_format(files):
    files("a.wav")
    assert outputs("a.wav", out="b.JSONL")[0][1].format == "jsonl"
    with pytest.raises(UsageError, match="the name says json, --format says mid"):
        targets("a.wav", out="b.json", formats=("mid",))


def test_output_is_never_named_like_a_recording(files):
    files("a.wav")
    with pytest.raises(UsageError, match="cannot be named like a recording"):
        targets("a.wav", out="b.wav")


def test_name_too_long_for_the_system_is_no_crash(files):
    files("a.wav")
    assert targets("a.wav", out="x" * 300) == [("a.wav", "x" * 300)]


# Standard streams


def test_standard_input_goes_on_in_a_pipe_but_not_on_a_terminal(files):
    assert targets("-") == [("stdin", "-")]
    with pytest.raises(UsageError, match="-o FILE"):
        targets("-", stdout_is_terminal=True)
    assert targets("-", out="o/") == [("stdin", "o/stdin.mid")]


def test_name_of_standard_input_names_its_output(files):
    (output,) = targets("-", out="o/", stdin_name="takes/one.flac")
    assert output == ("takes/one.flac", "o/one.mid")


def test_standard_output_takes_one_recording_in_one_format(files):
    files("a.wav", "b.wav")
    assert targets("a.wav", out="-") == [("a.wav", "-")]
    with pytest.raises(UsageError, match="takes one recording, not 2"):
        targets("a.wav", "b.wav", out="-")
    with pytest.raises(UsageError, match="takes one format"):
        targets("a.wav", out="-", formats=("mid", "csv"))
    with pytest.raises(UsageError, match="cannot share standard output"):
        targets("a.wav", out="-", report="-")
    with pytest.raises(UsageError, match="name a folder for all"):
        targets("-", "a.wav")


def test_midi_is_refused_on_a_terminal_and_text_is_not(files):
    files("a.wav")
    with pytest.raises(UsageError, match="not for a terminal"):
        targets("a.wav", out="-", stdout_is_terminal=True)
    shown = targets("a.wav", out="-", formats=("csv",), stdout_is_terminal=True)
    assert shown == [("a.wav", "-")]


def test_has_content(files):
    files("full")
    files("empty", data=b"")
    Path("folder").mkdir()
    assert [has_content(Path(n)) for n in ("full", "empty", "folder", "none")] == [
        True,
        False,
        False,
        False,
    ]
    with Path("full").open() as file:  # as /dev/stdout may lead to: no output of before
        assert not has_content(Path(f"/proc/self/fd/{file.fileno()}"))


def test_special_files(files):
    files("a.wav")
    with pytest.raises(UsageError, match="takes one format"):
        targets("a.wav", out=os.devnull, formats=("mid", "json"))


# Formats


def test_parse_formats():
    assert parse_formats([]) is None
    assert parse_formats(["mid,json", "JSON, csv"]) == ("mid", "json", "csv")
    with pytest.raises(UsageError, match=r"unknown format 'jsn' \(did you mean json\?\)"):
        parse_formats(["jsn"])

import os
from pathlib import Path

import pytest

from amtcli.errors import NoInputError, UsageError
from amtcli.inputs import find_inputs
from amtcli.plan import (
    Action,
    Existing,
    OutputOptions,
    has_content,
    is_special,
    make_plan,
    parse_formats,
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_files


def make_files(*names, data=b"x"):
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def plan(*words, mirror=False, **options):
    inputs = find_inputs(words, recursive=mirror)
    return make_plan(inputs, OutputOptions(mirror=mirror, **options))


def targets(*words, **options):
    """(recording, output) pairs of a plan, ``-`` for standard output."""
    return [
        (p.key, "-" if o.path is None else o.path.as_posix())
        for p in plan(*words, **options).recordings
        for o in p.outputs
    ]


def actions(*words, **options):
    return {p.key: p.action.value for p in plan(*words, **options).recordings}


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
            plan("a.wav", "b.wav", out=out)


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
    assert plan("a.wav", out="b.JSONL").recordings[0].outputs[0].format == "jsonl"
    with pytest.raises(UsageError, match="the name says json, --format says mid"):
        plan("a.wav", out="b.json", formats=("mid",))


def test_output_is_never_named_like_a_recording(files):
    files("a.wav", "score.xml")
    with pytest.raises(UsageError, match="cannot be named like a recording"):
        plan("a.wav", out="b.wav", existing=Existing.OVERWRITE)
    with pytest.raises(UsageError, match="would be overwritten by an output"):
        plan("score.xml", out="score.xml", existing=Existing.OVERWRITE)
    with pytest.raises(UsageError, match="would be overwritten"):
        plan("a.wav", report="a.wav")


# Standard streams


def test_standard_input_goes_on_in_a_pipe_but_not_on_a_terminal(files):
    assert targets("-") == [("stdin", "-")]
    with pytest.raises(UsageError, match="-o FILE"):
        plan("-", stdout_is_terminal=True)
    assert targets("-", out="o/") == [("stdin", "o/stdin.mid")]


def test_name_of_standard_input_names_its_output(files):
    inputs = find_inputs(["-"], stdin_name="takes/one.flac")
    (planned,) = make_plan(inputs, OutputOptions(out="o/")).recordings
    assert planned.outputs[0].path == Path("o/one.mid")


def test_standard_output_takes_one_recording_in_one_format(files):
    files("a.wav", "b.wav")
    assert targets("a.wav", out="-") == [("a.wav", "-")]
    assert plan("a.wav", out="-").writes_stdout
    with pytest.raises(UsageError, match="takes one recording, not 2"):
        plan("a.wav", "b.wav", out="-")
    with pytest.raises(UsageError, match="takes one format"):
        plan("a.wav", out="-", formats=("mid", "csv"))
    with pytest.raises(UsageError, match="cannot share standard output"):
        plan("a.wav", out="-", report="-")
    with pytest.raises(UsageError, match="name a folder for all"):
        plan("-", "a.wav")


def test_midi_is_refused_on_a_terminal_and_text_is_not(files):
    files("a.wav")
    with pytest.raises(UsageError, match="not for a terminal"):
        plan("a.wav", out="-", stdout_is_terminal=True)
    shown = plan("a.wav", out="-", formats=("csv",), stdout_is_terminal=True)
    assert shown.writes_stdout


# Collisions


def test_two_recordings_for_one_output_are_refused_with_a_remedy(files):
    files("a.mp3", "a.wav", "d1/b.wav", "d2/b.wav")
    with pytest.raises(UsageError, match=r"of its own \(-o\):\n  a.mid: from a.mp3 and"):
        plan("a.mp3", "a.wav")
    with pytest.raises(UsageError, match=r"-r keeps their folders below o:\n  o.b.mid: from d1"):
        plan("d1/b.wav", "d2/b.wav", out="o")


def test_mirroring_is_the_remedy_it_is_said_to_be(files):
    files("d1/b.wav", "d2/b.wav")
    assert [o for _, o in targets("d1/b.wav", "d2/b.wav", out="o", mirror=True)] == [
        "o/d1/b.mid",
        "o/d2/b.mid",
    ]


def test_two_folders_mirrored_into_one_can_still_collide(files):
    files("d1/b.wav", "d2/b.wav")
    with pytest.raises(UsageError, match="output of its own"):
        plan("d1", "d2", out="o", mirror=True)


def test_one_recording_named_twice_is_one_recording(files):
    files("a.wav")
    assert targets("a.wav", "./a.wav", str(Path("a.wav").resolve())) == [("a.wav", "a.mid")]


def test_report_is_no_output(files):
    files("a.wav")
    with pytest.raises(UsageError, match=r"from a\.wav and the report"):
        plan("a.wav", report="a.mid")


# Existing outputs


def test_existing_outputs_are_refused_ten_listed(files):
    files(*(f"{i:02}.wav" for i in range(12)), *(f"{i:02}.mid" for i in range(12)))
    with pytest.raises(UsageError) as raised:
        plan(".")
    lines = str(raised.value).splitlines()
    assert lines[0].startswith("12 outputs exist; --skip-existing does only the rest, --overwrite")
    assert lines[1:11] == [f"  {i:02}.mid" for i in range(10)]
    assert lines[11:] == ["  ... and 2 more"]


def test_skip_existing_needs_every_format_with_content(files):
    files("a.wav", "b.wav", "c.wav", "a.mid", "a.json", "b.mid")
    files("c.mid", "c.json", data=b"")
    both = ("mid", "json")
    options = {"formats": both, "existing": Existing.SKIP}
    assert actions(".", **options) == {
        "a.wav": "skip",
        "b.wav": "transcribe",
        "c.wav": "transcribe",
    }
    outputs = {p.key: [o.format for o in p.outputs] for p in plan(".", **options).recordings}
    assert outputs == {"a.wav": ["mid", "json"], "b.wav": ["json"], "c.wav": ["mid", "json"]}


def test_overwrite_does_all_again(files):
    files("a.wav", "a.mid")
    assert actions("a.wav", existing=Existing.OVERWRITE) == {"a.wav": "transcribe"}


def test_folder_in_the_place_of_an_output_is_refused_in_any_mode(files):
    files("a.wav")
    Path("a.mid").mkdir()
    for existing in (Existing.REFUSE, Existing.SKIP, Existing.OVERWRITE):
        with pytest.raises(UsageError, match="there are folders where outputs"):
            plan("a.wav", existing=existing)


def test_special_files_are_written_into_without_a_flag(files):
    files("a.wav")
    assert actions("a.wav", out=os.devnull) == {"a.wav": "transcribe"}
    assert is_special(Path(os.devnull))
    assert not is_special(Path("a.wav"))
    with pytest.raises(UsageError, match="takes one format"):
        plan("a.wav", out=os.devnull, formats=("mid", "json"))


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


# Inputs and folders that are not there


def test_some_missing_inputs_fail_and_the_rest_goes_on(files):
    files("a.wav")
    result = plan("a.wav", "no.wav")
    assert [(p.key, p.action) for p in result.recordings] == [
        ("a.wav", Action.TRANSCRIBE),
        ("no.wav", Action.FAIL),
    ]
    assert result.with_action(Action.FAIL)[0].problem == "no such file or folder"


def test_nothing_there_at_all_is_an_error_of_its_own(files):
    with pytest.raises(NoInputError, match=r"^no\.wav: no such file or folder$"):
        plan("no.wav")
    with pytest.raises(NoInputError, match=r"none of the inputs is there:\n  x: no such"):
        plan("x", "y")
    Path("list").touch()
    with pytest.raises(NoInputError, match="the list is empty"):
        plan("@list")


def test_out_below_a_file_is_refused(files):
    files("a.wav")
    with pytest.raises(UsageError, match=r"a\.wav is not a folder"):
        plan("a.wav", out="a.wav/o/")


def test_unwritable_folder_is_refused_before_work(files, monkeypatch):
    files("a.wav")
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((Path(path), mode)))
    with pytest.raises(UsageError, match=r"(?s)cannot be written; choose with -o:\n  o.new"):
        plan("a.wav", out="o/new/")
    assert asked == [(Path(), os.W_OK | os.X_OK)]


def test_output_name_too_long_fails_that_recording_only(files):
    long = "x" * 250 + ".wav"
    files("a.wav", long)
    assert actions("a.wav", long, formats=("jsonl",)) == {"a.wav": "transcribe", long: "fail"}
    assert actions(long) == {long: "transcribe"}


# Formats


def test_parse_formats():
    assert parse_formats([]) is None
    assert parse_formats(["mid,json", "JSON, csv"]) == ("mid", "json", "csv")
    with pytest.raises(UsageError, match=r"unknown format 'jsn' \(did you mean json\?\)"):
        parse_formats(["jsn"])

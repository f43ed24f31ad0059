import os
from pathlib import Path

import pytest

from amtcli.errors import NoInputError, UsageError
from amtcli.inputs import find_inputs
from amtcli.outputs import Existing, OutputOptions
from amtcli.plan import Action, make_plan


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


def test_recording_is_never_an_output(files):
    files("a.wav", "score.xml")
    with pytest.raises(UsageError, match="would be overwritten by an output"):
        plan("score.xml", out="score.xml", existing=Existing.OVERWRITE)
    with pytest.raises(UsageError, match="would be overwritten"):
        plan("a.wav", report="a.wav")


def test_special_files_are_written_into_without_a_flag(files):
    files("a.wav")
    assert actions("a.wav", out=os.devnull) == {"a.wav": "transcribe"}


# Collisions


def test_two_recordings_for_one_output_are_refused_with_a_remedy(files):
    files("a.mp3", "a.wav", "d1/b.wav", "d2/b.wav")
    with pytest.raises(UsageError, match=r"of its own \(-o\):\n  a.mid: from a.mp3 and"):
        plan("a.mp3", "a.wav")
    with pytest.raises(UsageError, match=r"-r keeps their folders below o:\n  o.b.mid: from d1"):
        plan("d1/b.wav", "d2/b.wav", out="o")


def test_an_input_that_is_missing_still_makes_the_output_a_folder(files):
    files("a.wav")
    assert targets("a.wav", "gone.wav", out="o") == [("a.wav", "o/a.mid")]
    with pytest.raises(UsageError, match=r"o\.mid: this is one file, and there are 2 recordings"):
        plan("a.wav", "gone.wav", out="o.mid")


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
    assert targets("a.wav", "./a.wav", out="b.mid") == [("a.wav", "b.mid")]


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
    assert actions("a.wav", long, formats=("jsonl",), out="new/")[long] == "fail"
    assert actions(long) == {long: "transcribe"}

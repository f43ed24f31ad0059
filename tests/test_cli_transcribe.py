import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest
import soundfile
from filled import audio
from stub_amt import PERFORMANCE, PROVENANCE, StubEngine
from swift_model import write_swift
from typer.testing import CliRunner

from amtcli import catalog
from amtcli.cli import app, engines, transcribe
from amtcli.errors import ModelError
from amtcli.midi_reading import read_performance

PEDAL_TIME = pytest.approx(0.4, abs=2e-3)
OLD_REPORT = '{"input": "z.wav", "status": "ok"}\n'


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A stub engine behind ``amt transcribe``; the current folder is a fresh one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    stub = StubEngine()
    stub.choices = []

    def open_engine(choice, screen):
        stub.choices.append(choice)
        return stub, PROVENANCE

    monkeypatch.setattr(transcribe, "open_engine", open_engine)
    return stub


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def amt(*words, stdin=None):
    return CliRunner().invoke(app, ["transcribe", *words], input=stdin, prog_name="amt")


def written():
    return sorted(p.as_posix() for p in Path().rglob("*") if p.suffix in (".mid", ".json", ".csv"))


def test_one_recording_gives_its_midi_file_and_one_line(engine):
    touch("song.wav")
    result = amt("song.wav")
    assert (result.exit_code, result.stdout) == (0, "")
    read = read_performance(Path("song.mid"))
    assert [(n.pitch, n.velocity) for n in read.notes] == [(60, 64), (64, 80)]
    assert [p.onset_s for p in read.pedals] == [PEDAL_TIME]
    (line,) = result.stderr.splitlines()
    assert line.startswith("song.wav -> song.mid: 2 notes, 1 pedal span, 2.0 s of audio in ")
    assert line.endswith("x real time, cpu (stub), float32)")


def test_folder_is_mirrored(engine):
    touch("in/a.wav", "in/x/b.flac", "in/x/cover.jpg")
    result = amt("in", "-r", "-o", "out")
    assert result.exit_code == 0
    assert written() == ["out/a.mid", "out/x/b.mid"]
    assert "2 recordings: 2 transcribed; 4 notes, 2 pedal spans, 4.0 s of audio" in result.stderr


def test_every_format_is_written_and_carries_what_is_known(engine):
    touch("a.wav")
    assert amt("a.wav", "--format", "mid,json", "--format", "csv").exit_code == 0
    assert written() == ["a.csv", "a.json", "a.mid"]
    document = json.loads(Path("a.json").read_text())
    assert document["model"] == {"name": "stub", "version": "1.0"}
    assert (document["recording"], document["duration_s"]) == ("a.wav", 2.0)
    assert document["notes"][1]["confidence"] == 0.75
    assert len(Path("a.csv").read_text().splitlines()) == 1 + len(PERFORMANCE.notes)


def test_tempo_moves_no_note_and_pedal_modes_reach_the_file(engine):
    touch("a.wav")
    assert amt("a.wav", "-o", "slow.mid", "--tempo", "60").exit_code == 0
    slow = read_performance(Path("slow.mid"))
    assert [n.onset_s for n in slow.notes] == pytest.approx([0.5, 1.0], abs=2e-3)
    assert amt("a.wav", "-o", "long.mid", "--pedal", "extend").exit_code == 0
    extended = read_performance(Path("long.mid"))
    assert extended.pedals == ()
    assert [n.offset_s for n in extended.notes] == pytest.approx([1.6, 1.6], abs=2e-3)


def test_engine_gets_what_was_asked_for(engine):
    touch("a.wav")
    words = ("--model", "m", "--device", "cuda:1", "--batch-size", "8", "--precision", "bf16")
    assert amt("a.wav", *words, "--fast", "--offline").exit_code == 0
    assert engine.choices == [transcribe.EngineChoice("m", "cuda:1", 8, "bf16", True, True)]
    amt("a.wav", "--overwrite")
    assert engine.choices[1] == transcribe.EngineChoice("", "auto", None, "auto", False, False)


@pytest.mark.parametrize(("words", "said"), [([], 1), (["-q"], 0), (["--model", "swift"], 0)])
def test_what_ships_transcribes_without_a_connection(tmp_path, monkeypatch, words, said):
    write_swift(tmp_path / "shipped" / "swift")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalog, "shipped_folder", lambda: tmp_path / "shipped")
    monkeypatch.setattr(engines, "is_terminal", lambda _: True)
    monkeypatch.setenv("AMT_MODEL_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AMT_OFFLINE", "1")
    for name in ("a.wav", "b.wav"):
        soundfile.write(name, audio(8000), 16000)
    result = amt("a.wav", "b.wav", "-o", "out", "--format", "json", *words)
    assert result.exit_code == 0, result.stderr
    document = json.loads(Path("out/b.json").read_text())
    assert document["model"] == {"name": "swift", "version": "1"}
    assert len(document["notes"]) > 20
    advice = "amt: transcribing with swift; transkun-v2 (amt models pull transkun-v2) is slower"
    assert result.stderr.count(advice) == said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "tpu"], "--device tpu is unknown"),
        (["--batch-size", "0"], "--batch-size takes auto or a number from 1, not 0"),
        (["--batch-size", "many"], "--batch-size takes auto or a number from 1, not many"),
        (["--tempo", "nan"], "a tempo of nan BPM"),
        (["--tempo", "3"], "a tempo of 3"),
        (["--format", "xml"], "unknown format 'xml'"),
        (["-q", "-v"], "contradict"),
        (["--skip-existing", "--overwrite"], "contradict"),
        (["--report", "no/such/folder/r.jsonl"], "--report no/such/folder/r.jsonl cannot be"),
    ],
)
def test_wrong_options_stop_before_any_work(engine, words, message):
    touch("a.wav")
    result = amt("a.wav", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("amt: error: ")
    assert message in result.stderr
    assert engine.choices == []


def test_dry_run_prints_the_plan_and_does_nothing(engine):
    touch("a.wav", "b\tc.wav", "d.wav")
    Path("d.mid").write_bytes(b"kept")
    result = amt(".", "gone.wav", "-n", "--skip-existing", "--format", "mid")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "transcribe\ta.wav\ta.mid",
        "transcribe\tb\\tc.wav\tb\\tc.mid",
        "skip\td.wav\td.mid",
        "fail\tgone.wav\tno such file or folder",
    ]
    assert (engine.choices, written()) == ([], ["d.mid"])


# Outputs that exist


def test_existing_outputs_are_refused_skipped_or_replaced(engine):
    touch("a.wav", "b.wav")
    Path("a.mid").write_bytes(b"mine")
    refused = amt(".")
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[1:] == ["  a.mid"]
    assert engine.choices == []
    skipped = amt(".", "--skip-existing")
    assert skipped.exit_code == 0
    assert "2 recordings: 1 transcribed, 1 skipped" in skipped.stderr
    assert Path("a.mid").read_bytes() == b"mine"
    assert amt(".", "--overwrite").exit_code == 0
    assert Path("a.mid").read_bytes().startswith(b"MThd")


def test_nothing_left_to_do_loads_no_model(engine):
    touch("a.wav")
    Path("a.mid").write_bytes(b"mine")
    result = amt("a.wav", "--skip-existing")
    assert (result.exit_code, result.stderr) == (0, "a.wav: 1 skipped\n")
    assert engine.choices == []


def test_output_that_appears_during_the_work_is_left_alone(engine, monkeypatch):
    touch("a.wav", "b.wav")
    result_of = engine._result

    def write_meanwhile(recording):
        Path("b.mid").write_bytes(b"theirs")
        return result_of(recording)

    monkeypatch.setattr(engine, "_result", write_meanwhile)
    skipping = amt(".", "--skip-existing")
    assert skipping.exit_code == 0
    assert "1 transcribed, 1 skipped" in skipping.stderr
    Path("a.mid").unlink()
    Path("b.mid").unlink()
    refusing = amt(".")
    assert refusing.exit_code == 1
    assert "amt: b.wav: its output has been written by someone else" in refusing.stderr
    assert Path("b.mid").read_bytes() == b"theirs"


# Failures


def test_one_bad_recording_does_not_stop_the_rest(engine):
    touch("a.wav", "bad.wav", "c.wav")
    result = amt(".", "gone.wav")
    assert result.exit_code == 1
    assert written() == ["a.mid", "c.mid"]
    assert result.stderr.splitlines()[:2] == [
        "amt: gone.wav: no such file or folder",
        "amt: bad.wav: not audio",
    ]
    assert "4 recordings: 2 transcribed, 2 failed" in result.stderr


def test_output_that_cannot_be_written_fails_that_recording(engine, monkeypatch):
    touch("a.wav", "b.wav")
    real = os.replace

    def full_disk(source, target):
        if str(target).startswith("a"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full_disk)
    result = amt(".")
    assert result.exit_code == 1
    assert "amt: a.wav: a.mid cannot be written: No space left on device" in result.stderr
    assert written() == ["b.mid"]
    assert not [p for p in Path().iterdir() if p.name.endswith(".tmp")]


def test_no_input_is_4(engine):
    Path("empty").mkdir()
    result = amt("empty")
    assert result.exit_code == 4
    assert result.stderr.startswith("amt: error: empty: no audio in this folder")


# Standard streams


def test_pipe_through(engine):
    result = amt("-", stdin=b"audio")
    assert result.exit_code == 0
    assert result.stdout_bytes.startswith(b"MThd")
    assert result.stdout_bytes == amt("-", "-o", "-", stdin=b"audio").stdout_bytes
    assert "stdin -> -: 2 notes" in result.stderr


def test_text_on_standard_output(engine):
    touch("a.wav")
    rows = list(csv.DictReader(io.StringIO(amt("a.wav", "-o", "-", "--format", "csv").stdout)))
    assert [row["pitch"] for row in rows] == ["60", "64"]
    lines = amt("a.wav", "-o", "-", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["pedal", "note", "note"]


def test_list_from_standard_input(engine):
    touch("x/a.wav", "x/y/b.wav")
    result = amt("@-", "-r", "-o", "out", stdin=b"x/a.wav\nx/y/b.wav\n")
    assert result.exit_code == 0
    assert written() == ["out/x/a.mid", "out/x/y/b.mid"]


# What is said


def test_quiet_says_errors_only(engine):
    touch("cut.wav", "bad.wav")
    assert amt(".", "-q").stderr == "amt: bad.wav: not audio\n"


def test_warnings_are_said(engine):
    touch("cut.wav")
    assert "amt: cut.wav: warning: the last 3.2 s could not be read" in amt("cut.wav").stderr


def test_verbose_says_one_line_per_recording(engine):
    touch("a.wav", "b.wav")
    Path("b.mid").write_bytes(b"x")
    lines = amt(".", "-v", "--skip-existing").stderr.splitlines()
    assert lines[0] == "b.wav: skipped, there is b.mid"
    assert lines[1].startswith("a.wav -> a.mid: 2 notes, 1 pedal span, 2.0 s of audio, 4.0x")
    assert len(lines) == 3
    assert "  reading 0.1 s, computing 0.2 s" in amt("a.wav", "-vv", "--overwrite").stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
@pytest.mark.parametrize(
    "stem",
    [
        "[red]x[/red] & 'quotes' \"double\"",
        "emoji \N{MUSICAL KEYBOARD} 絆",
        "x" * 250,
        "-n",
        "@list",
    ],
)
def test_odd_names_are_names_like_any_other(engine, stem):
    touch(f"./{stem}.wav")
    result = amt(f"./{stem}.wav")
    assert result.exit_code == 0
    assert written() == [f"{stem}.mid"]
    assert result.stderr.startswith(f"{stem}.wav -> {stem}.mid: 2 notes")


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_names_that_are_no_text_or_obeyed_by_terminals(engine):
    for raw in (b"caf\xe9.wav", b"\x1b[31mred\n.wav"):
        os.close(os.open(raw, os.O_CREAT))
    result = amt(".", "-v", "--report", "r.jsonl")
    assert result.exit_code == 0
    assert {b"caf\xe9.mid", b"\x1b[31mred\n.mid"} <= {os.fsencode(p) for p in Path().iterdir()}
    assert "\x1b" not in result.stderr
    assert "\\x1b[31mred" in result.stderr
    inputs = [json.loads(line)["input"] for line in Path("r.jsonl").read_text().splitlines()]
    assert [os.fsencode(name) for name in inputs] == [b"\x1b[31mred\n.wav", b"caf\xe9.wav"]


# The report


def test_report_has_one_record_per_recording(engine):
    touch("a.wav", "bad.wav", "cut.wav", "d.wav")
    Path("d.mid").write_bytes(b"x")
    result = amt(".", "gone.wav", "--skip-existing", "--report", "r.jsonl", "--format", "mid")
    assert result.exit_code == 1
    records = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    by_input = {record["input"]: record for record in records}
    assert {name: r["status"] for name, r in by_input.items()} == {
        "gone.wav": "failed",
        "d.wav": "skipped",
        "a.wav": "ok",
        "bad.wav": "failed",
        "cut.wav": "ok",
    }
    assert by_input["gone.wav"]["error"] == "no such file or folder"
    assert by_input["bad.wav"]["error"] == "bad.wav: not audio"
    assert by_input["cut.wav"]["warnings"] == ["the last 3.2 s could not be read"]
    good = by_input["a.wav"]
    assert (good["outputs"], good["notes"], good["pedals"]) == (["a.mid"], 2, 1)
    assert (good["audio_s"], good["elapsed_s"], good["times_real_time"]) == (2.0, 0.5, 4.0)
    assert (good["model"], good["device"], good["precision"]) == ("stub 1.0", "cpu", "float32")


def test_report_keeps_what_is_there_already_and_is_no_other_file(engine):
    touch("a.wav", "b.wav")
    assert amt("a.wav", "--report", "r.jsonl").exit_code == 0
    (first,) = Path("r.jsonl").read_text().splitlines()
    assert amt("a.wav", "b.wav", "--skip-existing", "--report", "r.jsonl").exit_code == 0
    kept, second = Path("r.jsonl").read_text().splitlines()
    assert kept == first
    assert json.loads(second)["input"] == "b.wav"
    Path("c.wav").write_bytes(b"RIFF of a recording")
    result = amt("a.wav", "--overwrite", "--report", "c.wav")
    assert result.exit_code == 2
    assert "--report c.wav holds something else: name another file" in result.stderr
    assert Path("c.wav").read_bytes() == b"RIFF of a recording"


def test_report_of_before_stays_where_the_engine_cannot_be_had(engine, monkeypatch):
    def fails(*_):
        raise ModelError("there is no model")

    touch("a.wav")
    Path("r.jsonl").write_text(OLD_REPORT)
    monkeypatch.setattr(transcribe, "open_engine", fails)
    result = amt("a.wav", "--report", "r.jsonl")
    assert (result.exit_code, result.stderr) == (3, "amt: error: there is no model\n")
    assert Path("r.jsonl").read_text() == OLD_REPORT
    assert written() == []


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_report_on_standard_output(engine, name):
    touch("a.wav")
    result = amt("a.wav", "--report", name)
    assert json.loads(result.stdout)["outputs"] == ["a.mid"]
    result = amt("a.wav", "-o", "-", "--format", "jsonl", "--report", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the result and the report cannot share standard output" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_report_that_cannot_be_written_does_not_stop_the_work(engine):
    touch("a.wav", "b.wav")
    result = amt(".", "--report", "/dev/full")
    assert result.exit_code == 1
    assert written() == ["a.mid", "b.mid"]
    assert result.stderr.count("amt: the report cannot be written: No space left") == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_refined_transcription_names_both_models_and_keeps_all_but_velocities(
    tmp_path, monkeypatch
):
    recording = Path(__file__).parent / "data" / "demo.flac"
    model = write_swift(tmp_path / "small")
    monkeypatch.chdir(tmp_path)
    plain, refined = (
        amt(str(recording), "--model", str(model), "-o", "-", "--format", "json", *options)
        for options in ((), ("--refine-velocity",))
    )
    assert (plain.exit_code, refined.exit_code) == (0, 0), refined.stderr
    before, after = json.loads(plain.stdout), json.loads(refined.stdout)
    assert after["model"] == {"name": "small 1 + velocity-swift", "version": "1.0"}
    velocities = [[note.pop("velocity") for note in found["notes"]] for found in (before, after)]
    assert before["notes"] == after["notes"]
    assert len(before["notes"]) > 100
    assert velocities[0] != velocities[1]


def test_a_model_that_finds_no_notes_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", audio(8000), 16000)
    Path("r.jsonl").write_text(OLD_REPORT)
    words = ["transcribe", "a.wav", "--model", "velocity-swift", "--report", "r.jsonl"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 3
    assert "finds no notes itself: use it with amt refine-velocity" in result.stderr
    assert Path("r.jsonl").read_text() == OLD_REPORT

import json
import os
from types import SimpleNamespace

import pytest

from amtcli.errors import AudioError, UsageError
from amtcli.notes import Note, Performance
from amtcli.report import Record, RunInfo, read_records, record_line, with_figures, write_line

RUN = RunInfo("toy 1.0", "cuda:0", "bf16")


def transcription(performance, elapsed_s=4.0, error=None):
    timings = SimpleNamespace(
        audio_s=10.0, read_s=0.5, compute_s=3.0, decode_s=1.00004, elapsed_s=elapsed_s
    )
    return SimpleNamespace(performance=performance, error=error, warnings=("cut",), timings=timings)


def test_figures_of_a_finished_recording():
    performance = Performance(notes=(Note(0, 1, 60, 64), Note(1, 2, 62, 64)))
    record = with_figures(Record("a.wav", ("a.mid",), "ok"), transcription(performance), RUN)
    assert json.loads(record_line(record)) == {
        "input": "a.wav",
        "outputs": ["a.mid"],
        "status": "ok",
        "error": None,
        "warnings": ["cut"],
        "notes": 2,
        "pedals": 0,
        "audio_s": 10.0,
        "read_s": 0.5,
        "compute_s": 3.0,
        "decode_s": 1.0,
        "elapsed_s": 4.0,
        "times_real_time": 2.5,
        "model": "toy 1.0",
        "device": "cuda:0",
        "precision": "bf16",
    }


def test_failed_recording_has_no_counts_and_no_speed_without_time():
    failed = transcription(None, elapsed_s=0.0, error=AudioError("a.wav: not audio"))
    record = with_figures(Record("a.wav", (), "failed", "a.wav: not audio"), failed, RUN)
    assert (record.notes, record.pedals, record.times_real_time) == (None, None, None)


@pytest.mark.parametrize("name", ["絆\n\N{MUSICAL KEYBOARD}.wav", os.fsdecode(b"caf\xe9.wav")])
def test_line_is_one_ascii_line_and_gives_the_name_back(name):
    line = record_line(Record(name, (), "skipped"))
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["input"] == name


def test_each_record_reaches_the_file_at_once(tmp_path):
    path = tmp_path / "r.jsonl"
    with path.open("w") as stream:
        for name in ("a", "b"):
            write_line(stream, record_line(Record(name, (), "ok")))
            assert [json.loads(line)["input"] for line in path.read_text().splitlines()][-1] == name
    assert len(path.read_text().splitlines()) == 2


def test_numbers_that_json_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        record_line(Record("a", (), "ok", audio_s=float("nan")))


def test_what_was_transcribed_is_read_again(tmp_path):
    lines = [
        record_line(Record(name, (), status)) for name, status in (("a", "ok"), ("b", "failed"))
    ]
    path = tmp_path / "report.jsonl"
    assert read_records(path) == {}
    path.write_text("".join(lines) + lines[0][:9])  # cut off by a crash
    assert read_records(path) == {"a": lines[0].rstrip()}


@pytest.mark.parametrize(
    "content", [b"some notes\nof mine\n", b"RIFF\xff\xfe", b'{"a": 1}\n{}\n', b"x"]
)
def test_what_is_no_report_is_not_overwritten(tmp_path, content):
    path = tmp_path / "song.wav"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="holds something else"):
        read_records(path)

"""`amt transcribe --live`: the offline result, as it comes, however it is fed and ended."""

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import test_audio_microphone
from autoregressive_model import write_autoregressive
from filled import audio
from swift_model import write_swift
from typer.testing import CliRunner

from amtcli import catalog
from amtcli.cli import app

RATE_HZ = 16000
PCM = (np.concatenate([audio(16000), np.zeros(8000), audio(9876)]) * 32767).astype("<i2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_autoregressive(tmp_path_factory.mktemp("models") / "small"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMT_MODEL_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AMT_OFFLINE", "1")


def amt(*words, data=b""):
    return CliRunner().invoke(app, ["transcribe", *words], input=data)


def live(model, *words, data):
    result = amt("-", "--live", "--model", model, *words, data=data)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()], result


def wav(rate_hz=RATE_HZ, samples=PCM):
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV")
    return file.getvalue()


def offline(model, data):
    Path("offline.wav").write_bytes(data)
    result = amt("offline.wav", "-o", "-", "--format", "jsonl", "--model", model, "-q")
    return [json.loads(line) for line in result.stdout.splitlines()]


def without_confidence(events):
    """In order of onset; confidences differ by rounding."""
    rows = [{k: v for k, v in e.items() if k != "confidence"} for e in events]
    return sorted(rows, key=lambda e: (e["onset_s"], e["pitch"], e["type"]))


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_notes_are_those_of_the_offline_result(model, rate_hz):
    data = wav(rate_hz)
    events, result = live(model, data=data)
    notes = [event for event in events if event["type"] == "note"]
    assert len(notes) > 50
    assert without_confidence(notes) == without_confidence(offline(model, data))
    besides = "" if rate_hz == 16000 else "resampling (up to 40 ms) and "
    assert (
        f"amt: listening at {rate_hz} Hz; notes come 160 ms after they begin, and what "
        f"{besides}computing takes"
    ) in result.stderr
    assert result.stderr.splitlines()[-1] == f"{len(notes)} notes"


@pytest.mark.parametrize(
    ("words", "data"),
    [
        (("--raw-rate", "16000"), PCM.tobytes()),
        (
            ("--raw-rate", "16000", "--raw-format", "float32"),
            (PCM / 32768).astype("<f4").tobytes(),
        ),
    ],
)
def test_raw_samples_give_the_same_events_as_wav(model, words, data):
    assert live(model, *words, data=data)[0] == live(model, "-q", data=wav())[0]


def test_every_note_has_two_lines(model):
    events, _ = live(model, data=wav())
    begun = {}
    for event in events:
        key = event["pitch"]
        if event["type"] == "note_on":
            assert set(event) == {"type", "onset_s", "pitch", "velocity", "confidence"}
            assert key not in begun
            begun[key] = event
        else:
            assert event["type"] == "note"
            assert event.pop("offset_s") == event.pop("sounding_end_s") > event["onset_s"]
            assert event | {"type": "note_on"} == begun.pop(key)
    assert not begun


def test_without_a_model_the_one_that_ships_for_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "shipped_folder", lambda: tmp_path / "shipped")
    swift = str(write_swift(tmp_path / "shipped" / "swift-live"))
    result = amt("-", "--live", data=wav())
    assert result.exit_code == 0, result.stderr
    assert "notes come 189 ms after they begin" in result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = [event["type"] for event in events]
    assert kinds.count("note_on") == kinds.count("note") > 50
    assert kinds.count("pedal") > 0

    def place(event):
        return event["onset_s"], event.get("pitch", 0)

    def rounded(event):  # and without what a pedal that is not over yet may add
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in event.items()
            if name != "sounding_end_s"
        }

    heard = sorted((event for event in events if event["type"] != "note_on"), key=place)
    wanted = sorted(offline(swift, wav()), key=place)
    assert list(map(rounded, heard)) == list(map(rounded, wanted))


def test_a_stream_that_is_cut_off_is_told(model):
    data = wav()
    _, whole = live(model, data=data)
    _, cut = live(model, data=data[:-RATE_HZ])  # half a second of 16 bits
    told = "amt: the stream ended 0.50 s before its header says"
    assert told not in whole.stderr.splitlines()
    assert told in cut.stderr.splitlines()


def test_nothing_in_nothing_out(model):
    assert live(model, "--raw-rate", "16000", data=b"")[0] == []


def test_a_model_that_hears_whole_windows_is_refused_before_it_is_pulled():
    result = amt("-", "--live", "--model", "transkun-v2", data=wav())
    assert result.exit_code == 2
    assert "transkun-v2 2.0 cannot transcribe live" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("song.wav", "--live"), "--live listens to standard input (amt transcribe - --live)"),
        (("--live",), "--live listens to standard input"),
        (("-", "--live", "-o", "x.mid"), "--out goes with no --live"),
        (("-", "--live", "--format", "mid", "--dry-run"), "--dry-run goes with no --live"),
        (("-", "--live", "--format", "json"), "--format goes with no --live"),
        (("-", "--raw-rate", "16000"), "--raw-rate needs --live"),
        (("--microphone",), "--microphone needs --live"),
        (("-", "--live", "--raw-format", "float32"), "--raw-format needs --raw-rate"),
        (("-", "--live", "--microphone"), "--microphone takes no INPUT"),
        (("--live", "--microphone", "--raw-rate", "8000"), "--microphone takes no INPUT and no"),
        ((), "name an INPUT"),
    ],
)
def test_options_that_contradict_one_another_are_refused(words, message):
    result = amt(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_what_is_no_wav_is_refused(model):
    result = amt("-", "--live", "--model", model, data=b"fLaC" + bytes(100))
    assert result.exit_code == 1
    assert "stdin: is no wav stream; for samples without a header" in result.stderr


def test_a_missing_microphone_is_one_line(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = amt("--live", "--microphone", "--model", model)
    assert result.exit_code == 2
    assert "amt: error: a microphone needs sounddevice" in result.stderr


def test_a_microphone_is_listened_to_until_it_is_interrupted(model, monkeypatch):
    class Stream(test_audio_microphone.Stream):
        position = 0

        def read(self, n_samples):
            start, self.position = self.position, self.position + n_samples
            if self.position > 16000:
                signal.raise_signal(signal.SIGINT)
            return (PCM[start : self.position, None] / 32768).astype(np.float32), start == 0

    def query_devices(kind):
        return {"default_samplerate": 16000.0}

    devices = test_audio_microphone.devices(InputStream=Stream, query_devices=query_devices)
    monkeypatch.setitem(sys.modules, "sounddevice", devices)
    result = amt("--live", "--microphone", "--model", model)
    assert result.exit_code == 130
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert sum(e["type"] == "note_on" for e in events) > 20
    assert sum(e["type"] == "note_on" for e in events) == sum(e["type"] == "note" for e in events)
    assert "samples were lost 1 times" in result.stderr
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Real processes


def start(model):
    words = ["transcribe", "-", "--live", "--raw-rate", "16000", "--model", model]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-m", "amtcli", *words], stdin=pipe, stdout=pipe, stderr=pipe
    )
    return SimpleNamespace(process=process, feed=lambda data: feed(process, data))


def feed(process, data):
    process.stdin.write(data)
    process.stdin.flush()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_notes_come_while_audio_comes_and_ctrl_c_ends_them(model):
    running = start(model)
    running.feed(PCM[:16000].tobytes())
    lines = [json.loads(running.process.stdout.readline()) for _ in range(20)]  # before the end
    running.process.send_signal(signal.SIGINT)
    events = lines + [json.loads(line) for line in running.process.stdout]
    messages = running.process.stderr.read()
    assert running.process.wait() == 130
    assert messages.splitlines()[-1] == b"amt: interrupted"
    assert b"Traceback" not in messages
    kinds = [event["type"] for event in events]
    assert kinds.count("note_on") == kinds.count("note") > 20


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX pipes")
def test_a_reader_that_goes_away_ends_it_quietly(model):
    running = start(model)
    running.feed(PCM[:8000].tobytes())
    running.process.stdout.readline()
    running.process.stdout.close()
    with suppress(BrokenPipeError):  # it may have gone already
        running.feed(PCM.tobytes())
        running.process.stdin.close()
    messages = running.process.stderr.read()
    assert running.process.wait(timeout=60) == 141
    assert b"Traceback" not in messages
    assert b"error" not in messages

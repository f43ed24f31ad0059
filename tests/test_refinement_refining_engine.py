"""Two toys as one: notes are the ones that are heard, velocities what the other reads."""

import io
import os
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from test_engine import clicks, recording
from test_refinement_engine import engine as velocity_engine
from toy import RATE_HZ, toy_model

from amtcli.audio import open_audio
from amtcli.engine import Engine, EngineOptions
from amtcli.errors import AudioError
from amtcli.notes import Beat, Performance
from amtcli.reading import Recording
from amtcli.refinement.refining_engine import RefiningEngine, add_beats, read_velocities


def refining(monkeypatch):
    reader, _ = velocity_engine(monkeypatch)
    transcriber = Engine(toy_model(monkeypatch), EngineOptions("cpu", batch_size=3))
    return RefiningEngine(transcriber, read_velocities(reader)), transcriber


def test_notes_stay_and_velocities_are_those_that_are_read(monkeypatch):
    both, alone = refining(monkeypatch)
    recordings = [recording("a", clicks(1000, 4)), recording("b", clicks(300, 70))]
    plain = {r.recording.key: r.performance for r in alone.transcribe(recordings)}
    for result in both.transcribe(recordings):
        found = result.performance.notes
        expected = plain[result.recording.key].notes
        assert [(n.onset_s, n.offset_s, n.pitch) for n in found] == [
            (n.onset_s, n.offset_s, n.pitch) for n in expected
        ]
        # A click is 1.0, which is 128 on MIDI's scale, behind 0.25 that sounds all the time.
        assert {n.velocity for n in found if n.pitch == 60} == {127}


def test_a_recording_without_notes_is_not_heard_again(monkeypatch):
    reader, _ = velocity_engine(monkeypatch)
    monkeypatch.setattr(reader, "read_velocities", lambda scored: 1 / 0)
    empty = Performance()
    assert read_velocities(reader)(recording("a", clicks(1000, 4)), empty) == empty


def beats_engine(monkeypatch, *beats):
    listener = Engine(toy_model(monkeypatch), EngineOptions("cpu"))
    heard = []

    def transcribe(recordings):
        for one in recordings:
            heard.append(one.key)
            with open_audio(one.source, RATE_HZ, name=one.key, source_rate_hz=RATE_HZ):
                yield SimpleNamespace(performance=Performance((), (), beats), error=None)

    monkeypatch.setattr(listener, "transcribe", transcribe)
    return listener, heard


def test_beats_are_added_and_all_else_stays(monkeypatch):
    _, alone = refining(monkeypatch)
    listener, heard = beats_engine(monkeypatch, Beat(0.1, True, "p"), Beat(0.6))
    (plain,) = alone.transcribe([recording("a", clicks(1000, 4))])
    both = RefiningEngine(alone, add_beats(listener))
    (found,) = both.transcribe([recording("a", clicks(1000, 4))])
    assert found.performance.beats == (Beat(0.1, True, "p"), Beat(0.6))
    assert replace(found.performance, beats=()) == plain.performance
    assert heard == ["a"]


def test_who_cannot_be_heard_for_beats_keeps_the_error_and_the_rest_goes_on(monkeypatch):
    _, alone = refining(monkeypatch)
    listener, _ = beats_engine(monkeypatch, Beat(0.1))
    whole = listener.transcribe

    def failing(recordings):
        for result, one in zip(whole(recordings), recordings, strict=True):
            error = AudioError("a: gone") if one.key == "a" else None
            yield SimpleNamespace(performance=None if error else result.performance, error=error)

    monkeypatch.setattr(listener, "transcribe", failing)
    both = RefiningEngine(alone, add_beats(listener))
    results = both.transcribe([recording(key, clicks(1000, 4)) for key in "ab"])
    found = {result.recording.key: result for result in results}
    assert (found["a"].performance, str(found["a"].error)) == (None, "a: gone")
    assert found["b"].performance.beats == (Beat(0.1),)
    assert found["b"].performance.notes


def test_a_stream_that_cannot_be_kept_fails_and_the_rest_goes_on(monkeypatch):
    both, _ = refining(monkeypatch)

    class Torn(io.BytesIO):
        def read(self, *_):
            raise OSError(28, "No space left on device")

    results = list(both.transcribe([Recording("torn", Torn()), recording("a", clicks(1000, 4))]))
    found = {result.recording.key: result for result in results}
    assert str(found["torn"].error) == (
        "torn: cannot be read (No space left on device); check the disk"
    )
    assert found["a"].performance.notes


def test_what_can_be_read_only_once_is_heard_twice(monkeypatch, tmp_path):
    both, _ = refining(monkeypatch)
    stream = io.BytesIO()
    samples = np.atleast_2d(clicks(1000, 5)).T.astype(np.float32)
    soundfile.write(stream, samples, RATE_HZ, format="WAV", subtype="FLOAT")
    stream.seek(0)
    (direct,) = both.transcribe([recording("a", clicks(1000, 5))])
    (streamed,) = both.transcribe([Recording("a", stream)])
    assert streamed.performance == direct.performance
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no named pipes here")
    os.mkfifo(tmp_path / "pipe")
    feeder = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(stream.getvalue()))
    feeder.start()
    (piped,) = both.transcribe([Recording("a", tmp_path / "pipe")])
    feeder.join()
    assert piped.performance == direct.performance


def test_what_cannot_be_transcribed_keeps_its_error(monkeypatch, tmp_path):
    both, _ = refining(monkeypatch)
    missing, good = both.transcribe(
        [Recording("bad", tmp_path / "nowhere.wav"), recording("a", clicks(300, 5))]
    )
    assert isinstance(missing.error, AudioError)
    assert "nowhere.wav" in str(missing.error) or "bad" in str(missing.error)
    assert missing.performance is None
    assert good.performance.notes

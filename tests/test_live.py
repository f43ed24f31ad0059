"""Live equals offline: the same model folder through the engine and as a stream."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from autoregressive_model import FRONT_END, write_autoregressive
from filled import audio
from toy import toy_model

from amtcli.decoders.note_states import NoteOn, NoteStatesConfig
from amtcli.engine import Engine, EngineOptions
from amtcli.errors import UsageError
from amtcli.live import LiveTranscriber, algorithmic_latency_s
from amtcli.model_folder import load_model
from amtcli.networks.autoregressive import AutoregressiveConfig
from amtcli.notes import Note
from amtcli.reading import Recording


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_autoregressive(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


@pytest.fixture(scope="module")
def samples():
    """Sound, digital silence longer than a window, sound again, a little of no whole hop."""
    return np.concatenate([audio(16000), np.zeros(40000, np.float32), audio(12345)])


def offline_notes(folder, samples):
    recording = Recording("test", samples, 16000)
    (transcription,) = Engine(load_model(folder), EngineOptions("cpu")).transcribe([recording])
    return transcription.performance.notes


def live_events(model, samples, block):
    transcriber = LiveTranscriber(model)
    events = []
    for start in range(0, samples.shape[-1], block):
        events += transcriber.feed(samples[..., start : start + block])
    return events + transcriber.close()


def same(notes, others):
    """The same notes, but for the rounding of probabilities."""
    rows, other_rows = (
        sorted((n.pitch, n.onset_s, n.offset_s, n.velocity) for n in some)
        for some in (notes, others)
    )
    return rows == other_rows


@pytest.mark.parametrize("block", [333, 512, 20000])
def test_live_notes_are_those_of_the_engine(folder, model, samples, block):
    offline = offline_notes(folder, samples)
    events = live_events(model, samples, block)
    assert len(offline) > 100
    assert same([e for e in events if isinstance(e, Note)], offline)


def test_every_note_is_announced_once_and_then_given_whole(model, samples):
    open_notes = {}
    for event in live_events(model, samples, 512):
        if isinstance(event, NoteOn):
            assert event.pitch not in open_notes
            open_notes[event.pitch] = event
        else:
            begun = open_notes.pop(event.pitch)
            assert event == Note(
                begun.onset_s, event.offset_s, begun.pitch, begun.velocity, begun.confidence
            )
    assert open_notes == {}


@pytest.mark.parametrize("label_shift_frames", [0, 2])
def test_notes_come_when_the_formula_says(tmp_path, label_shift_frames):
    model = load_model(write_autoregressive(tmp_path / "small", label_shift_frames))
    transcriber = LiveTranscriber(model)
    assert transcriber.latency_s == pytest.approx(0.160 - 0.032 * label_shift_frames)
    sound, block = audio(16000), 64
    found = 0
    for start in range(0, len(sound), block):
        for event in transcriber.feed(sound[start : start + block]):
            if isinstance(event, NoteOn):
                decided_s = (start + block) / 16000
                assert decided_s - event.onset_s == pytest.approx(transcriber.latency_s)
                found += 1
    assert found > 50


@pytest.mark.parametrize(
    ("window_samples", "hop_samples", "time_kernels", "shift", "latency_ms"),
    [  # rows of table 1 of low-latency-amt
        (2048, 512, (3, 3, 3), 0, 160),
        (2048, 512, (1, 3, 3), 0, 128),
        (2048, 512, (1, 1, 1), 0, 64),
        (2048, 512, (3, 3, 3), 3, 64),
        (1024, 512, (3, 3, 3), 0, 128),
        (1024, 512, (3, 3, 3), 3, 32),
        (1024, 256, (3, 3, 3), 0, 80),
        (1024, 256, (3, 3, 3), 2, 48),
    ],
)
def test_latency_of_published_variants(
    window_samples, hop_samples, time_kernels, shift, latency_ms
):
    latency_s = algorithmic_latency_s(
        replace(FRONT_END, window_samples=window_samples, hop_samples=hop_samples),
        AutoregressiveConfig(229, 48, 48, time_kernels),
        NoteStatesConfig(16000, hop_samples, shift, 1.0, 64),
    )
    assert latency_s == pytest.approx(latency_ms / 1000)


def test_channels_are_averaged(model, samples):
    mono = samples[:16000]
    stereo = np.stack([2 * mono, np.zeros_like(mono)])
    of_stereo, of_mono, of_left = (
        [event for event in live_events(model, some, 4000) if isinstance(event, Note)]
        for some in (stereo, mono, stereo[0])
    )
    assert len(of_mono) > 50
    assert same(of_stereo, of_mono)
    assert not same(of_left, of_mono)


def test_nothing_comes_of_nothing(model):
    assert live_events(model, np.zeros(50000, np.float32), 512) == []
    assert LiveTranscriber(model).close() == []


def test_memory_does_not_grow(model):
    transcriber = LiveTranscriber(model)

    def kept_bytes():
        transcriber.feed(audio(4 * 16000)[: 16000 + 100])
        return len(pickle.dumps(transcriber))

    kept_bytes()
    first, *rest = [kept_bytes() for _ in range(10)]
    assert max(rest) - first < 3000  # what the numbers and open notes vary by


def test_a_model_that_hears_whole_windows_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="toy 1 cannot transcribe live"):
        LiveTranscriber(toy_model(monkeypatch))

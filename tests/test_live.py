"""Live equals offline: the same model folder through the engine and as a stream."""

import pickle
from functools import partial

import numpy as np
import pytest
from autoregressive_model import write_autoregressive
from filled import audio
from swift_model import write_swift
from toy import toy_model

from amtcli.decoders.note_states import NoteOn
from amtcli.engine import Engine, EngineOptions
from amtcli.errors import UsageError
from amtcli.live import LiveTranscriber, latency_s
from amtcli.model_folder import load_model
from amtcli.networks import swift_convolution
from amtcli.notes import Note, PedalSpan
from amtcli.reading import Recording


@pytest.fixture(
    scope="module",
    params=[
        write_autoregressive,
        partial(write_autoregressive, label_shift_frames=2),
        write_swift,
    ],
    ids=["autoregressive", "autoregressive of shifted labels", "swift"],
)
def folder(request, tmp_path_factory):
    """A model of each kind of network that hears live."""
    return request.param(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


@pytest.fixture(scope="module")
def samples():
    """Sound, digital silence longer than a window, sound again, a little of no whole hop."""
    return np.concatenate([audio(16000), np.zeros(40000, np.float32), audio(12345)])


def offline(folder, samples):
    recording = Recording("test", samples, 16000)
    (transcription,) = Engine(load_model(folder), EngineOptions("cpu")).transcribe([recording])
    return transcription.performance


def live_events(model, samples, block):
    transcriber = LiveTranscriber(model)
    events = []
    for start in range(0, samples.shape[-1], block):
        events += transcriber.feed(samples[..., start : start + block])
    return events + transcriber.close()


def same(notes, others):
    """The same notes, but for the last digits, which may round a velocity to its neighbour."""
    rows, other_rows = (
        np.array(sorted((n.pitch, n.onset_s, n.offset_s, n.velocity) for n in some)).reshape(-1, 4)
        for some in (notes, others)
    )
    return rows.shape == other_rows.shape and np.all(
        np.abs(rows - other_rows) <= [0, 1e-4, 1e-4, 1]
    )


def test_recordings_of_any_length_end_as_in_the_engine(folder, model):
    for n_samples in (1, 300, 12800, 25600 - 200, 25600 + 5000):
        performance = offline(folder, audio(n_samples))
        events = live_events(model, audio(n_samples), 2000)
        assert same([e for e in events if isinstance(e, Note)], performance.notes), n_samples
        assert sum(isinstance(e, PedalSpan) for e in events) == len(performance.pedals)
        assert performance.notes or n_samples < 12800


@pytest.mark.parametrize("block", [333, 512, 20000])
def test_live_notes_are_those_of_the_engine(folder, model, samples, block):
    performance = offline(folder, samples)
    events = live_events(model, samples, block)
    assert len(performance.notes) > 100
    assert same([e for e in events if isinstance(e, Note)], performance.notes)
    spans = [(span.onset_s, span.offset_s) for span in events if isinstance(span, PedalSpan)]
    wanted = [(span.onset_s, span.offset_s) for span in performance.pedals]
    assert bool(wanted) == ("autoregressive" not in str(model.config.network))
    np.testing.assert_allclose(sorted(spans), wanted, rtol=0, atol=1e-5)


def test_every_note_is_announced_once_and_then_given_whole(model, samples):
    open_notes = {}
    for event in live_events(model, samples, 512):
        if isinstance(event, NoteOn):
            assert event.pitch not in open_notes
            open_notes[event.pitch] = event
        elif isinstance(event, Note):
            begun = open_notes.pop(event.pitch)
            assert event == Note(
                begun.onset_s, event.offset_s, begun.pitch, begun.velocity, begun.confidence
            )
    assert open_notes == {}


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
    assert LiveTranscriber(model).close() == []
    assert live_events(model, np.zeros(0, np.float32), 512) == []


def test_memory_does_not_grow(model, monkeypatch):
    # What oneDNN lays out is not pickled.
    monkeypatch.setattr(swift_convolution, "_can_fuse", lambda _: False)
    transcriber = LiveTranscriber(model)

    def kept_bytes():
        transcriber.feed(audio(4 * 16000)[: 16000 + 100])
        return len(pickle.dumps(transcriber))

    sizes = [kept_bytes() for _ in range(12)]  # blocks give 40 or 41 frames: some hold more
    assert max(sizes[6:]) - max(sizes[:6]) < 3000  # what the numbers and open notes vary by


def test_a_model_that_hears_whole_windows_is_refused(monkeypatch):
    with pytest.raises(UsageError, match=r"toy 1 cannot transcribe live, .*; choose swift-live"):
        LiveTranscriber(toy_model(monkeypatch))


def test_a_model_that_hears_far_ahead_is_refused(tmp_path):
    model = load_model(write_swift(tmp_path / "slow", 100, lookahead_samples=2048))
    assert model.network.lookahead_frames == 16
    assert latency_s(model) is None
    problem = r"slow 1 cannot .* only 0\.55 s after .* choose swift-live"
    with pytest.raises(UsageError, match=problem):
        LiveTranscriber(model)

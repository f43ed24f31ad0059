"""Swift live: when its notes are decided, and the recipe that is made for it."""

import pytest
from filled import audio
from swift_model import write_swift

from amtcli.decoders.note_states import NoteOn
from amtcli.live import LiveTranscriber, latency_s
from amtcli.model_folder import load_model, outline_model
from amtcli.networks.swift import Convolution
from amtcli.training.export import model_config
from amtcli.training.recipe import find_recipe, read_recipe


@pytest.mark.parametrize(
    ("lookahead_frames", "lookahead_samples", "latency"),
    [(0, 1024, 0.089), (4, 1024, 0.189), (4, 2048, 0.253), (2, 100, 0.100)],
)
def test_notes_come_when_the_formula_says(tmp_path, lookahead_frames, lookahead_samples, latency):
    folder = write_swift(tmp_path / "small", lookahead_frames, lookahead_samples)
    transcriber = LiveTranscriber(load_model(folder))
    assert transcriber.latency_s == pytest.approx(latency)
    sound, block = audio(16000), 16
    late_s = []
    for start in range(0, len(sound), block):
        for event in transcriber.feed(sound[start : start + block]):
            if isinstance(event, NoteOn):
                late_s.append((start + block) / 16000 - event.onset_s)
    assert len(late_s) > 100
    # An onset lies up to half a frame to either side of the frame that is its peak.
    assert latency - 0.0126 <= min(late_s) < latency - 0.006
    assert latency + 0.006 < max(late_s) <= latency + 0.0126


def shipped_recipe(name):
    path = find_recipe(name)
    return outline_model(model_config(read_recipe(path)), path)


def test_the_recipe_for_it_looks_ahead_less_than_a_fifth_of_a_second():
    model = shipped_recipe("swift-live")
    assert latency_s(model) == pytest.approx(0.189)
    assert latency_s(shipped_recipe("two-core")) is None


def test_its_windows_hold_all_that_a_frame_hears():
    model = shipped_recipe("swift-live")
    config, window = model.front_end.config, model.config.window
    layers = [m for m in model.network.modules() if isinstance(m, Convolution)]
    heard = sum(layer.behind_frames for layer in layers) * config.hop_samples
    heard += max(w - config.ahead_samples(w) for w in config.window_samples)
    assert heard <= window.padding_samples < heard + 5 * config.hop_samples


def test_the_network_is_that_of_the_recipe_it_begins_from():
    slow, live = (shipped_recipe(name).network.state_dict() for name in ("two-core", "swift-live"))
    assert {k: v.shape for k, v in slow.items()} == {k: v.shape for k, v in live.items()}

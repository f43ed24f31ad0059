"""The engine with a velocity model that can be checked on paper.

Frames are 10 samples long. The network says of every key how loud the frame's loudest sample is,
and halves it in cells where the score has no onset: a note is told right only where samples and
rolls of its window are both in place.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import RATE_HZ, ToyFrontEnd, toy_model

from amtcli.engine import EngineOptions
from amtcli.errors import AudioError, ModelError
from amtcli.networks.velocity.velocity_network import VelocityNetwork
from amtcli.notes import Note, Performance
from amtcli.reading import Recording
from amtcli.refinement.engine import VelocityEngine
from amtcli.refinement.reading import ScoredRecording

HOP = 10
DECODER = {
    "kind": "score_velocities",
    "sample_rate_hz": RATE_HZ,
    "hop_samples": HOP,
    "reading": "onset",
    "reach_frames": 0,
}


class FrameFrontEnd(ToyFrontEnd):
    """Frame n is the loudest of the samples from 5 before n * 10 to 4 after: (B, T, 1)."""

    def forward(self, windows):
        samples = torch.nn.functional.pad(super().forward(windows), (HOP // 2, HOP))
        return samples.unfold(-1, HOP, HOP).amax(dim=-1, keepdim=True)


class LoudnessNetwork(VelocityNetwork):
    memory = 1000

    def __init__(self):
        super().__init__()
        self.batch_sizes = []

    def estimate(self, features, score):
        if len(features) > self.memory:
            raise torch.cuda.OutOfMemoryError("out of memory")
        self.batch_sizes.append(len(features))
        return features * (0.5 + 0.5 * score.onset)


def engine(monkeypatch, batch_size=3):
    toy = toy_model(monkeypatch)
    network = LoudnessNetwork()
    config = replace(toy.config, decoder=DECODER)
    model = replace(toy, config=config, front_end=FrameFrontEnd(), network=network)
    return VelocityEngine(model, EngineOptions("cpu", batch_size=batch_size)), network


def scored(key, n_notes, seed):
    """A recording that clicks as loud as each note of its score is to be, and the score."""
    random = np.random.default_rng(seed)
    frames = np.sort(random.choice(30 * n_notes, n_notes, replace=False))
    velocities = random.integers(1, 128, n_notes)
    samples = np.zeros(300 * n_notes + 50, np.float32)
    samples[frames * HOP + random.integers(-4, 5, n_notes).clip(-frames * HOP)] = velocities / 128
    notes = tuple(
        Note(frame * HOP / RATE_HZ, (frame + 40) * HOP / RATE_HZ, int(pitch), 64)
        for frame, pitch in zip(frames.tolist(), random.integers(21, 109, n_notes), strict=True)
    )
    recording = Recording(key, samples[None], RATE_HZ)
    return ScoredRecording(recording, Performance(notes)), velocities


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_every_note_is_read_in_the_window_that_it_belongs_to(monkeypatch, batch_size):
    reader, network = engine(monkeypatch, batch_size)
    asked = [scored("long", 40, 1), scored("short", 1, 2), scored("other", 25, 3)]
    readings = {r.scored.recording.key: r for r in reader.read_velocities(one for one, _ in asked)}
    for one, velocities in asked:
        reading = readings[one.recording.key]
        assert reading.scored is one
        assert reading.error is None
        np.testing.assert_allclose(reading.velocities, velocities, atol=1e-4)
        assert reading.audio_s == one.recording.source.shape[1] / RATE_HZ
    assert max(network.batch_sizes) == min(batch_size, max(network.batch_sizes))
    assert (batch_size == 1) == (max(network.batch_sizes) == 1)


def test_where_memory_runs_out_scores_are_halved_with_their_windows(monkeypatch):
    reader, network = engine(monkeypatch, 8)
    network.memory = 2
    one, velocities = scored("long", 40, 1)
    (reading,) = reader.read_velocities([one])
    np.testing.assert_allclose(reading.velocities, velocities, atol=1e-4)
    assert max(network.batch_sizes) == 2


def test_of_silence_and_of_keys_that_no_piano_has_nothing_is_read(monkeypatch):
    reader, _ = engine(monkeypatch)
    one, velocities = scored("long", 4, 1)
    quiet = np.concatenate([one.recording.source, np.zeros((1, 500), np.float32)], axis=1)
    late_s = one.recording.source.shape[1] / RATE_HZ + 0.3
    notes = (*one.score.notes, Note(0.1, 0.2, 12, 64), Note(late_s, late_s + 0.1, 60, 64))
    longer = ScoredRecording(Recording("long", quiet, RATE_HZ), Performance(notes))
    (reading,) = reader.read_velocities([longer])
    np.testing.assert_allclose(reading.velocities[:4], velocities, atol=1e-4)
    assert np.isnan(reading.velocities[4:]).all()


def test_what_cannot_be_read_is_an_answer_too(monkeypatch):
    reader, _ = engine(monkeypatch)
    one, velocities = scored("good", 4, 1)
    missing = ScoredRecording(Recording("bad", Path("nowhere.wav")), one.score)
    bad, good = reader.read_velocities([missing, one])
    assert isinstance(bad.error, AudioError)
    assert bad.velocities is None
    np.testing.assert_allclose(good.velocities, velocities, atol=1e-4)


def test_a_run_that_is_given_up_leaves_nothing_behind(monkeypatch):
    reader, _ = engine(monkeypatch)
    first = reader.read_velocities([scored("a", 40, 1)[0], scored("b", 40, 2)[0]])
    next(first)
    first.close()
    one, velocities = scored("c", 10, 3)
    (reading,) = reader.read_velocities([one])
    np.testing.assert_allclose(reading.velocities, velocities, atol=1e-4)


def test_a_model_that_finds_notes_itself_is_refused(monkeypatch):
    with pytest.raises(ModelError, match=r"toy 1 does not read velocities .* 'toy'"):
        VelocityEngine(toy_model(monkeypatch), EngineOptions("cpu"))

"""Transkun with its authors' weights, against their own program (``make_reference.py``)."""

import csv

import numpy as np
import pytest
import torch

from amtcli.devices import is_fast_at_bf16
from amtcli.engine import Engine, EngineOptions
from amtcli.model_folder import load_model
from amtcli.networks.transkun import Transkun, TranskunConfig, _continuous_bernoulli_mean
from amtcli.reading import Recording


def events(performance):
    """Notes and pedals as rows (onset, offset, pitch or minus controller, velocity)."""
    rows = [(n.onset_s, n.offset_s, n.pitch, n.velocity) for n in performance.notes]
    rows += [(p.onset_s, p.offset_s, -p.controller, p.value) for p in performance.pedals]
    return np.array(sorted(rows, key=lambda row: (row[2], row[0])))


def run(folder, recordings, **options):
    engine = Engine(load_model(folder), EngineOptions(device="cpu", **options))
    return {r.recording.key: r.performance for r in engine.transcribe(recordings)}


@pytest.fixture(scope="module")
def reference(demo_audio):
    with demo_audio.with_name("demo_transkun.csv").open() as file:
        rows = [[float(value) for value in row.values()] for row in csv.DictReader(file)]
    return np.array(sorted(rows, key=lambda row: (row[2], row[0])))


@pytest.fixture(scope="module")
def float32_events(transkun_folder, demo_audio):
    recording = Recording("demo", demo_audio)
    return events(run(transkun_folder, [recording], precision="float32")["demo"])


def test_the_notes_and_pedals_are_those_of_the_reference_program(float32_events, reference):
    assert float32_events.shape == reference.shape == (348, 4)
    np.testing.assert_array_equal(float32_events[:, 2], reference[:, 2])
    np.testing.assert_allclose(float32_events[:, :2], reference[:, :2], atol=1e-4)
    np.testing.assert_allclose(float32_events[:, 3], reference[:, 3], atol=1)


@pytest.mark.skipif(
    not is_fast_at_bf16(torch.device("cpu")), reason="bf16 is slow here, and never taken by auto"
)
def test_bf16_finds_the_same_notes(transkun_folder, demo_audio, reference):
    found = events(run(transkun_folder, [Recording("demo", demo_audio)], precision="bf16")["demo"])
    assert abs(len(found) - len(reference)) <= 3
    same_pitch = found[:, None, 2] == reference[None, :, 2]
    off_s = np.where(same_pitch, np.abs(found[:, None, 0] - reference[None, :, 0]), np.inf)
    nearest = off_s.argmin(axis=0)
    assert (off_s.min(axis=0) < 0.012).mean() > 0.99  # half a frame
    moved_s = np.abs(found[nearest, 1] - reference[:, 1])
    assert (moved_s > 0.012).mean() < 0.05
    assert np.median(np.abs(found[nearest, 3] - reference[:, 3])) <= 1


def test_results_depend_on_neither_batch_nor_neighbours(transkun_folder, demo_audio):
    import soundfile

    audio, rate_hz = soundfile.read(demo_audio, dtype="float32", always_2d=True)
    audio = audio.T[:, : 5 * rate_hz]
    mono = audio[:1, : 2 * rate_hz]
    recordings = [Recording("stereo", audio, rate_hz), Recording("mono", mono, rate_hz)]
    together = run(transkun_folder, recordings, precision="float32", batch_size=3)
    for recording in recordings:
        alone = run(transkun_folder, [recording], precision="float32", batch_size=1)
        a, b = events(alone[recording.key]), events(together[recording.key])
        np.testing.assert_array_equal(a[:, 2:], b[:, 2:])
        np.testing.assert_allclose(a[:, :2], b[:, :2], atol=1e-4)


def test_silence_scores_nothing(transkun_folder):
    model = load_model(transkun_folder)
    with torch.inference_mode():
        model.network.prepare("float32")
        features = model.front_end([torch.zeros(1, 705600)])
        (found,) = model.network.activations(features)
    assert len(found.symbol) == 0  # which is why the engine need not compute silent windows


def test_mean_of_a_continuous_bernoulli_distribution():
    logits = torch.tensor([-6.0, -0.5, -0.002, 0.0, 0.003, 0.5, 6.0], dtype=torch.float64)
    expected = torch.distributions.ContinuousBernoulli(logits=logits).mean
    torch.testing.assert_close(_continuous_bernoulli_mean(logits), expected, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_answers_depend_on_the_whole_window_and_most_on_where_it_begins():
    """Far from the cut, a missing end shifts averages; a later start, every coordinate too."""
    torch.manual_seed(0)
    network = Transkun(TranskunConfig(2, 4, 16, 4, 1, 2, 8)).eval()
    for name, parameter in network.named_parameters():
        if name.endswith(".scale"):  # of branches that have learnt something
            parameter.fill_(1)
    features = torch.rand(1, 200, 229, 2)
    whole = network.encode(features)  # (1, 90, 26, 16), a step for every eight frames
    ends_earlier, starts_later = network.encode(features[:, :160]), network.encode(features[:, 40:])
    spread = whole.std()
    moved_by_the_end = (whole[:, :, :15] - ends_earlier[:, :, :15]).abs() / spread
    assert 0.001 < moved_by_the_end.mean() < moved_by_the_end.max() < 0.1
    moved_by_the_start = (whole[:, :, 11:] - starts_later[:, :, 6:]).abs() / spread
    assert moved_by_the_start.mean() > 0.1


@pytest.mark.gpu
def test_cuda_finds_the_same_notes(transkun_folder, demo_audio, reference):
    engine = Engine(load_model(transkun_folder), EngineOptions(device="cuda", precision="float32"))
    (result,) = engine.transcribe([Recording("demo", demo_audio)])
    found = events(result.performance)
    assert found.shape == reference.shape
    np.testing.assert_array_equal(found[:, 2], reference[:, 2])
    np.testing.assert_allclose(found[:, :2], reference[:, :2], atol=2e-3)

"""Metre: windows do not hear each other, and what it says of strikes lies on their frames."""

import numpy as np
import pytest
import torch

from amtcli.networks.metre import Metre, MetreConfig
from amtcli.networks.strikes import N_FEATURES, Strikes


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Metre(MetreConfig(width=8, n_layers=2)).eval()


def strikes(n, seed=0):
    random = np.random.RandomState(seed)
    features = random.randn(n, N_FEATURES).astype(np.float32)
    return Strikes(np.sort(random.uniform(0, 9, n)), features)


@torch.inference_mode()
def test_a_window_says_the_same_in_any_batch(network):
    windows = [strikes(n, n) for n in (40, 7, 0, 90)]
    together = network.activations_of(windows, 1000, 0.01)
    for window, found in zip(windows, together, strict=True):
        (alone,) = network.activations_of([window], 1000, 0.01)
        np.testing.assert_allclose(found.rows(), alone.rows(), atol=1e-6)
    assert not together[2].rows().any()


@torch.inference_mode()
def test_answers_depend_on_what_comes_long_before_and_after(network):
    features = torch.from_numpy(strikes(60).features)[None]
    logits = network(features, torch.tensor([60])).beat
    for place, later, still in ((0, 6, 59), (59, 53, 0)):  # convolutions reach four to each side
        other = features.clone()
        other[0, place, ::2] += 10
        changed = network(other, torch.tensor([60])).beat
        assert changed[0, later] != logits[0, later]
        assert changed[0, still] == pytest.approx(logits[0, still].item(), abs=1e-3)


@torch.inference_mode()
def test_probabilities_lie_on_the_frames_of_their_strikes(network):
    window = strikes(30)
    (found,) = network.activations_of([window], 800, 0.01)
    logits = network(torch.from_numpy(window.features)[None], torch.tensor([30]))
    expected = np.zeros((2, 800))
    for onset_s, *pair in zip(window.onset_s, *(head[0].sigmoid() for head in logits), strict=True):
        frame = round(onset_s * 100)
        if frame < 800:
            expected[:, frame] = np.maximum(expected[:, frame], pair)
    np.testing.assert_allclose([found.beat, found.downbeat], expected, atol=1e-6)
    assert not found.change.any() and not found.dynamics.any()


def test_sound_alone_holds_no_beats(network):
    for found in network.activations(torch.ones(2, 500)):
        assert found.rows().shape == (500, 8)
        assert not found.rows().any()

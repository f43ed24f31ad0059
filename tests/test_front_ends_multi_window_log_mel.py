"""Against a plain computation in float64, and against published values of one signal."""

import math

import numpy as np
import pytest
import torch

from amtcli.front_ends.multi_window_log_mel import (
    MultiWindowLogMel,
    MultiWindowLogMelConfig,
    mel_filters,
)

CONFIG = MultiWindowLogMelConfig(44100, 4096, 1024, 229, 30.0, 8000.0, 5, 1e-5)


def front_end():
    made = MultiWindowLogMel(CONFIG).requires_grad_(False)
    made.centers.copy_(torch.tensor([0.34276, 0.44638, 0.49210, 0.58285, 0.72003]).logit())
    made.widths.copy_(torch.tensor([0.23673, 0.30766, 0.65133, 0.33603, 0.22925]).logit())
    return made


def plain_features(samples, analysis):
    """Frame by frame with numpy: what the front-end says it computes."""
    n_frames = math.ceil(samples.shape[1] / 1024) + 1
    padded = np.pad(samples.astype(np.float64), ((0, 0), (2048, 2048 + 1024)))
    frames = np.stack([padded[:, 1024 * i : 1024 * i + 4096] for i in range(n_frames)], axis=1)
    frames = (frames - frames.mean()) / (frames.std(ddof=1) + 1e-8)
    spectra = np.fft.rfft(frames[:, :, None] * analysis, norm="ortho")
    mel = (np.abs(spectra) ** 2).mean(axis=0) @ mel_filters(CONFIG).double().numpy()
    return (np.log(mel + 1e-5) - math.log(1e-5)).transpose(0, 2, 1) / -math.log(1e-5)


@pytest.mark.parametrize("n_channels", [1, 2])
def test_features_equal_a_plain_computation(n_channels):
    random = np.random.default_rng(0)
    samples = random.normal(0.01, 0.1, (n_channels, 9000)).astype(np.float32)
    module = front_end()
    analysis = module.analysis_windows().double().numpy()
    features = module([torch.from_numpy(samples)])
    assert features.shape == (1, 10, 229, 6)
    np.testing.assert_allclose(features[0], plain_features(samples, analysis), atol=2e-4)


def test_channels_that_repeat_the_first_change_nothing():
    samples = torch.randn(1, 5000, generator=torch.Generator().manual_seed(1))
    both = front_end()([samples, samples.repeat(3, 1)])
    torch.testing.assert_close(both[0], both[1], rtol=0, atol=0)


def test_silence_is_zero_and_finite():
    assert front_end()([torch.zeros(2, 5000)]).abs().max() == 0


def test_published_values_of_three_decaying_tones():
    # Mean, maximum and one bin as the reference program computes them for this signal.
    t = np.arange(16 * 44100) / 44100
    signal = np.zeros_like(t)
    for onset_s, pitch_hz in ((2, 261.6255653), (5, 440), (9, 130.8127827)):
        d = np.maximum(t - onset_s, 0)
        for h in range(1, 9):
            decay = 0.2 / h * np.exp(-d * (0.8 + 0.3 * h))
            signal += (t >= onset_s) * decay * np.sin(2 * np.pi * pitch_hz * h * d)
    features = front_end()([torch.from_numpy(signal.astype(np.float32))[None]])[0]
    assert features.mean() == pytest.approx(0.154201, abs=2e-5)
    assert features.max() == pytest.approx(1.759951, abs=2e-5)
    expected = [0.00016, 0.00032, 0.00059, 0.30453, 0.04070, 0.04938]
    np.testing.assert_allclose(features[200, 60], expected, atol=1e-4)


def test_loudness_is_that_of_the_window_so_values_move_with_the_cut():
    """A loud end lowers all cells before it alike, but for what lies near the floor."""
    random = torch.Generator().manual_seed(2)
    quiet, loud = (level * torch.randn(1, 40 * 1024, generator=random) for level in (0.01, 0.1))
    alone = front_end()([quiet])[0, :36]
    followed = front_end()([torch.cat([quiet, loud], dim=1)])[0, :36]
    level = math.sqrt((0.01**2 + 0.1**2) / 2)  # of both together
    expected = 2 * math.log(level / 0.01) / -math.log(CONFIG.epsilon)
    moved = alone - followed
    assert moved.median() == pytest.approx(expected, rel=0.05)
    assert 0 < moved.min() < moved.max() < 1.1 * expected

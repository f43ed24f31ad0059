"""The CQT against nnAudio's stored values, librosa and paper; the floor and short recordings."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filled import audio

from amtcli.front_ends.constant_q import ConstantQ
from amtcli.front_ends.cqt import Cqt, CqtConfig, constant_q_bins
from amtcli.front_ends.hcqt import Hcqt, HcqtConfig, kernel_lengths_samples, n_bins_below_nyquist

PARITY = Path(__file__).parent / "data" / "parity" / "hppnet.npz"
KEPT = slice(60, 68)
CONFIG = CqtConfig(
    sample_rate_hz=16000,
    hop_samples=320,
    n_bins=352,
    bins_per_octave=48,
    f_min_hz=27.5 / 2 ** (1 / 24),
    dynamic_range_db=80.0,
    stft_window_samples=512,
    stft_f_max_hz=4186 * 2 ** (1 / 24),
)
HCQT = HcqtConfig(16000, 256, 88, 12, 27.5, (0.5, 1.0, 2.0), 80.0)


@pytest.fixture(scope="module")
def front_end():
    return Cqt(CONFIG).eval()


@pytest.fixture(scope="module")
def hcqt():
    return Hcqt(HCQT).eval()


def tone(frequency_hz, n_samples):
    return torch.sin(2 * math.pi * frequency_hz * torch.arange(n_samples) / 16000)[None]


def test_both_channels_equal_nnaudios(front_end):
    stft, cqt = front_end([torch.from_numpy(audio(128 * 320))[None]])[0, :, KEPT].numpy()
    stored = np.load(PARITY)
    for ours, name in ((cqt, "cqt"), (stft, "stft")):
        theirs = stored[name]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)  # dB over a range of 80
        # Magnitudes, which are what is rounded, as shares of the strongest one of the frame.
        found, expected = (10 ** (values.astype(float) / 10) for values in (ours, theirs))
        assert (np.abs(found - expected) / expected.max(axis=1, keepdims=True)).max() < 1e-5


def test_one_channel_is_the_constant_q_spectrum(front_end):
    alone = Cqt(replace(CONFIG, stft_window_samples=0)).eval()
    samples = torch.from_numpy(audio(16000))[None]
    assert torch.equal(alone([samples])[:, 0], front_end([samples])[:, 1])


def test_a_tone_peaks_in_the_bin_of_its_pitch_with_the_magnitude_of_its_kernel():
    frequencies_hz, lengths = constant_q_bins(CONFIG)
    bank = ConstantQ(frequencies_hz, lengths, 16000, 320, "reflect")
    a4 = 4 * 48 + 2  # four octaves and two bins above the lowest, which lies below A0
    magnitudes = bank(0.5 * tone(440.0, 48000))[0, 75]
    assert magnitudes.argmax() == a4
    assert magnitudes[a4] == pytest.approx(0.25 * math.sqrt(lengths[a4]), rel=1e-4)


def test_frames_are_centred_on_whole_hops(front_end):
    click = torch.zeros(1, 32000)
    click[0, 50 * 320] = 1.0
    click[0, [0, -1]] = 1e-6  # so that nothing is cut off
    loudness = front_end([click])[0, 1, :, 200]
    assert loudness.argmax() == 50
    torch.testing.assert_close(loudness[47:50], loudness[51:54].flip(0), atol=0.05, rtol=0)


@pytest.mark.parametrize("n_samples", [320, 5000, 20000, 33000])
def test_short_recordings_are_taken(front_end, n_samples):
    features = front_end([tone(440.0, n_samples)])
    assert features.shape == (1, 2, n_samples // 320, 352)
    assert features.isfinite().all()
    assert abs(int(features[0, 0].mean(dim=0).argmax()) - 194) < 12  # the STFT is coarse


def test_the_floor_of_a_window_does_not_depend_on_its_neighbours(front_end, hcqt):
    quiet, loud = 0.01 * tone(440.0, 16000), tone(220.0, 16000)
    for transform in (front_end, hcqt):
        together = transform([quiet, loud])[0]
        assert torch.equal(together, transform([quiet])[0])
    values = front_end([quiet])[0, 1]
    assert values.max() - values.min() <= 80.0 + 1e-4


def test_silence_around_the_sound_is_marked_and_changes_nothing(front_end, hcqt):
    for transform, hop in ((front_end, 320), (hcqt, 256)):
        sound = torch.from_numpy(audio(50 * hop))[None]
        padded = torch.nn.functional.pad(sound, (10 * hop, 20 * hop + 7))
        features = transform([padded])[0]
        torch.testing.assert_close(features[:, 10:60], transform([sound])[0])
        assert features[:, :10].isnan().all()
        assert features[:, 60:].isnan().all()
        transform.train()
        assert transform([padded]).isfinite().all()
        transform.eval()


def test_the_reference_is_the_windows_own_so_values_move_with_the_cut(front_end, hcqt):
    """A loud end lifts the floor of the decibels, and lowers all that is scaled to 0-1."""
    quiet = torch.from_numpy(audio(48000) * 0.02)[None]
    both = torch.cat([quiet, torch.from_numpy(audio(32000))[None]], dim=1)
    frames = slice(10, 60)  # what no kernel of an upper octave hears the end in
    alone, followed = (front_end([s])[0, 1, frames, 192:] for s in (quiet, both))
    floor_db = float(front_end([both])[0, 1].max()) - 80.0
    torch.testing.assert_close(followed, alone.clamp(min=floor_db), atol=1e-3, rtol=0)
    alone, followed = (hcqt([s])[0, 1, frames, 48:] for s in (quiet, both))
    moved = (alone - followed)[followed > 0]
    level = math.log10(1 / 0.02) * 20 / 80
    assert moved.mean() == pytest.approx(level, abs=0.03)
    assert moved.std() < 1e-3


def chord(n_samples):
    pitches_hz = (32.7, 110.0, 220.0, 277.2, 1318.5, 3520.0)
    return sum(0.1 * tone(pitch, n_samples)[0] for pitch in pitches_hz).numpy()


@pytest.mark.parametrize(
    "samples, tolerance",
    [(chord(48000), 0.01), (audio(48000), 0.025)],
    ids=["steady", "struck"],
)
def test_magnitudes_equal_librosas(samples, tolerance):
    """As shares of the greatest one; in the bins of steady tones 0.5 % of each value.

    librosa leaves out the weak parts of its kernels' spectra and computes low octaves at low
    rates, which shows beside tones and where they are struck.
    """
    librosa = pytest.importorskip("librosa")
    frequencies_hz = 27.5 * 2 ** (np.arange(88) / 12)
    lengths = kernel_lengths_samples(HCQT, frequencies_hz)
    bank = ConstantQ(frequencies_hz, lengths, 16000, 256, "constant")
    ours = bank(torch.from_numpy(samples)[None])[0].numpy().T
    theirs = np.abs(
        librosa.cqt(samples, sr=16000, hop_length=256, fmin=27.5, n_bins=88, bins_per_octave=12)
    )[:, : ours.shape[1]]
    within = slice(40, -40)  # at the ends, its resampling filters see the edges
    assert np.abs(ours - theirs)[:, within].max() < tolerance * theirs.max()
    if tolerance == 0.01:
        tones = [3, 24, 36, 40, 67, 84]
        np.testing.assert_allclose(ours[tones, within], theirs[tones, within], rtol=5e-3)


def test_harmonic_channels_are_one_octave_apart_and_end_below_nyquist(hcqt):
    assert [n_bins_below_nyquist(HCQT, h) for h in HCQT.harmonics] == [88, 88, 86]
    features = hcqt([tone(440.0, 32000)])
    assert features.shape == (1, 3, 125, 88)
    a4 = 48
    peaks = [int(channel[60].argmax()) for channel in features[0]]
    assert peaks == [a4 + 12, a4, a4 - 12]
    assert features[0, :, 60].amax(dim=1) == pytest.approx([1.0, 1.0, 1.0], abs=0.01)
    assert not features[0, 2, :, 86:].any()
    assert features[0, 2, :, 85].any() or features[0, 2, :, :85].any()


def test_harmonics_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="harmonics must be positive"):
        replace(HCQT, harmonics=(1.0, 300.0))

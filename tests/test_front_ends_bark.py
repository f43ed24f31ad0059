"""The front-end against its authors' program, and against values of one sine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filled import audio

from amtcli.checkpoints.dynest import FRONT_END
from amtcli.front_ends.bark import Bark, BarkConfig

PARITY = Path(__file__).parent / "data" / "parity" / "dynest.npz"
WIDE = BarkConfig(44100, 1024, 882, 96.0)


def sine(amplitude, n_samples=22050, frequency_hz=1000):
    time_s = np.arange(n_samples) / FRONT_END.sample_rate_hz
    samples = amplitude * np.sin(2 * np.pi * frequency_hz * time_s)
    return torch.from_numpy(samples.astype(np.float32))[None]


def levels_db(sones):
    """Undo the last step."""
    loud = 40 + 10 * np.log2(np.maximum(sones, 1))
    return np.where(sones >= 1, loud, 40 * sones ** (1 / 2.642))


@pytest.mark.parametrize("config", [FRONT_END, WIDE])
def test_features_are_those_of_the_authors(config):
    theirs = np.load(PARITY)[f"sones_{config.sample_rate_hz}"]
    samples = torch.from_numpy(audio(22050))[None]
    front_end = Bark(config)
    ours = front_end([samples])[0].numpy()
    exact = front_end.double()([samples.double()])[0].numpy()  # filters stay rounded
    assert ours.shape == theirs.shape == (22050 // config.hop_samples + 1, config.n_bands)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * theirs.max())
    np.testing.assert_allclose(exact, theirs, rtol=1e-5, atol=1e-7)
    assert theirs.min() < 0.1  # both halves of the scale occur
    assert theirs.max() > 10


@pytest.mark.parametrize(
    ("amplitude", "bands_6_to_12_db", "band_9_sone"),
    [
        (1.0, (37.71, 60.81, 80.46, 88.37, 84.07, 76.04, 66.97), 28.5808),
        (0.1, (17.71, 40.81, 60.46, 68.37, 64.07, 56.04, 46.97), 7.1452),
        (0.001, (0, 0.81, 20.46, 28.37, 24.07, 16.04, 6.97), 0.4035),
    ],
)
def test_a_sine_of_a_kilohertz_is_as_loud_as_in_the_authors_program(
    amplitude, bands_6_to_12_db, band_9_sone
):
    (loudness,) = Bark(FRONT_END)([sine(amplitude)]).numpy()
    middle = loudness[len(loudness) // 2]
    np.testing.assert_allclose(levels_db(middle)[5:12], bands_6_to_12_db, rtol=0, atol=0.01)
    assert middle[8] == pytest.approx(band_9_sone, abs=1e-4)


def test_silence_is_zero():
    assert not Bark(FRONT_END)([torch.zeros(1, 4410)]).any()


def test_a_frame_is_centred_on_its_sample():
    samples = torch.zeros(1, 20 * 441)
    samples[0, 9 * 441] = 1.0
    loudness = Bark(FRONT_END)([samples])[0].sum(dim=1)
    assert int(loudness.argmax()) == 9
    assert float(loudness[8]) == pytest.approx(float(loudness[10]), rel=1e-4)


def test_frames_of_a_part_are_those_of_the_whole_and_windows_do_not_mix():
    samples = torch.from_numpy(audio(80 * 441))[None]
    front_end = Bark(FRONT_END)
    (whole,) = front_end([samples])
    first, second = front_end([samples[:, : 50 * 441], samples[:, 30 * 441 :]])
    torch.testing.assert_close(first[:49], whole[:49], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(second[2:], whole[32:], rtol=1e-4, atol=1e-5)


def test_ten_decibels_double_what_is_loud():
    quiet, loud = Bark(FRONT_END)([sine(0.1), sine(10**-0.5)])[:, 25, 8]
    assert float(loud / quiet) == pytest.approx(2, rel=1e-4)
    louder = Bark(replace(FRONT_END, full_scale_db=106.0))([sine(0.1)])[0, 25, 8]
    assert float(louder) == pytest.approx(float(loud), rel=1e-4)


@pytest.mark.parametrize(("rate_hz", "n_bands"), [(16000, 21), (22050, 22), (44100, 24)])
def test_there_are_as_many_bands_as_end_within_half_the_rate(rate_hz, n_bands):
    config = BarkConfig(rate_hz, 1024, 320, 96.0)
    assert config.n_bands == n_bands
    assert Bark(config)([torch.zeros(1, 1600)]).shape == (1, 6, n_bands)


def test_what_lies_above_the_last_band_is_not_heard():
    assert not Bark(FRONT_END)([sine(0.5, frequency_hz=10500)])[0, 10:40].any()


@pytest.mark.parametrize(
    ("config", "said"),
    [((44100, 256, 882, 96.0), "up to 300 Hz"), ((199, 256, 4, 96.0), "no critical band fits")],
)
def test_bands_without_a_bin_are_refused(config, said):
    with pytest.raises(ValueError, match=said):
        BarkConfig(*config)

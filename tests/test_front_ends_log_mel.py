"""The front-end against what the authors' own programs compute."""

import math
from dataclasses import replace
from pathlib import Path

import autoregressive_model
import numpy as np
import pytest
import torch
from filled import audio

from amtcli.checkpoints import hpt, onsets_velocities
from amtcli.front_ends.log_mel import LogMel, mel_filters

PARITY = Path(__file__).parent / "data" / "parity"
CLICK = replace(hpt.FRONT_END, window_samples=512, n_mels=40)


# Name, settings and number of samples of what is stored of the authors' front-ends.
AUTHORS = [
    ("hpt", hpt.FRONT_END, 8000),  # Slaney's scale and areas
    ("onsets_velocities", onsets_velocities.FRONT_END, 16000),  # HTK's scale, 80 dB
    ("autoregressive", autoregressive_model.FRONT_END, 15999),  # magnitudes; a sample is dropped
]


def with_their_filters(config, stored):
    """Our front-end; filters are theirs where they are stored, and not just those of librosa."""
    front_end = LogMel(config)
    front_end.filters = torch.from_numpy(stored.get("filters", front_end.filters.numpy()))
    return front_end


@pytest.mark.parametrize(("name", "config", "n_samples"), AUTHORS)
def test_in_float64_features_are_those_of_the_authors(name, config, n_samples):
    stored = dict(np.load(PARITY / f"{name}.npz"))
    front_end = with_their_filters(config, stored).double()
    # Their windows are PyTorch's; HPT's is rounded only within the products with sines and cosines.
    rounded = torch.float64 if name == "hpt" else torch.float32
    front_end.hann = torch.hann_window(config.window_samples, dtype=rounded).double()
    ours = front_end([torch.from_numpy(audio(n_samples))[None].double()])[0].numpy()
    assert ours.shape == stored["mel"].shape
    np.testing.assert_allclose(ours[::4], stored["mel_float64"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "config", "n_samples"), AUTHORS)
def test_in_float32_features_are_as_near_to_the_exact_ones_as_the_authors_own(
    name, config, n_samples
):
    """A weak band beside a strong one is a small difference of large numbers.

    Rounding moves it by up to 6e-5 dB in either program. What they round is the same to 1e-5 of
    the strongest band of its frame.
    """
    stored = dict(np.load(PARITY / f"{name}.npz"))
    ours = with_their_filters(config, stored)([torch.from_numpy(audio(n_samples))[None]])[0].numpy()
    ours_off, theirs_off = (
        np.abs(mel[::4] - stored["mel_float64"]).max() for mel in (ours, stored["mel"])
    )
    assert ours_off < 2 * theirs_off < 2e-4
    unit = 1.0 if config.logarithm == "natural" else math.log(10) / 10
    found, expected = (np.exp(unit * mel.astype(float)) for mel in (ours, stored["mel"]))
    shares = np.abs(found - expected) / expected.max(axis=1, keepdims=True)
    assert shares.max() < 1e-5


def test_filters_that_torchaudio_rounds_are_all_that_onsets_and_velocities_differs_in():
    """It works out their edges in float32, ours are exact; its weights never notice 3e-4 dB."""
    stored = dict(np.load(PARITY / "onsets_velocities.npz"))
    samples = [torch.from_numpy(audio(16000))[None]]
    exact = LogMel(onsets_velocities.FRONT_END)
    rounded = with_their_filters(onsets_velocities.FRONT_END, stored)
    np.testing.assert_allclose(exact.filters, rounded.filters, rtol=0, atol=4e-5)
    np.testing.assert_allclose(rounded(samples)[0], stored["mel"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(exact(samples)[0], stored["mel"], rtol=0, atol=4e-4)


@pytest.mark.parametrize("frame", [4, 7, 12])
def test_a_frame_is_centred_on_its_sample(frame):
    samples = torch.zeros(1, 2 * 1600)
    samples[0, frame * 160] = 1.0
    energy = LogMel(CLICK)([samples])[0].mean(dim=1)
    assert int(energy.argmax()) == frame
    assert float(energy[frame - 1]) == pytest.approx(float(energy[frame + 1]), abs=1e-3)


def test_windows_of_a_batch_do_not_know_of_each_other():
    quiet, loud = (torch.from_numpy(gain * audio(4000))[None] for gain in (0.001, 1.0))
    front_end = LogMel(replace(onsets_velocities.FRONT_END, dynamic_range_db=20.0))
    together = front_end([quiet, loud])
    assert torch.equal(together[:1], front_end([quiet]))
    ranges = together.amax(dim=(1, 2)) - together.amin(dim=(1, 2))
    np.testing.assert_allclose(ranges.numpy(), 20.0, atol=1e-4)


def test_the_floor_hangs_on_the_loudest_cell_so_weak_cells_move_with_the_cut():
    quiet = torch.from_numpy(audio(16000) * 0.01)[None]
    both = torch.cat([quiet, torch.from_numpy(audio(16000))[None]], dim=1)

    def features(samples, range_db):
        config = replace(onsets_velocities.FRONT_END, dynamic_range_db=range_db)
        return LogMel(config)([samples])[0]

    early = slice(38)  # the frames that hear nothing of the loud end
    alone, followed = features(quiet, 80.0)[early], features(both, 80.0)
    floor_db = followed.max() - 80.0
    torch.testing.assert_close(followed[early], alone.clamp(min=floor_db), rtol=0, atol=1e-3)
    assert 0.01 < (alone < floor_db - 1e-3).float().mean() < 0.99
    unlimited = (features(samples, math.inf)[early] for samples in (quiet, both))
    torch.testing.assert_close(*unlimited, rtol=0, atol=1e-3)


def test_magnitudes_in_natural_logarithms_are_powers_in_decibels_in_another_unit():
    samples = [torch.from_numpy(audio(1600))[None]]
    power = LogMel(replace(CLICK, floor=1e-30))
    magnitude = LogMel(replace(CLICK, floor=1e-30, spectrum="magnitude", logarithm="natural"))
    power.filters = torch.eye(power.filters.shape[0])  # one bin each: nothing is summed
    magnitude.filters = power.filters
    expected = power(samples) * (math.log(10) / 20)
    np.testing.assert_allclose(magnitude(samples).numpy(), expected.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_filters_rise_and_fall_between_the_centres_of_their_neighbours(scale):
    config = replace(hpt.FRONT_END, mel_scale=scale, equal_area=False, n_mels=20)
    filters = mel_filters(config)
    inside = filters[: filters.shape[0] - 1].sum(dim=1)[40:800]
    np.testing.assert_allclose(inside.numpy(), 1.0, atol=1e-5)  # neighbours add up to one
    assert float(filters.max()) <= 1.0
    areas = mel_filters(replace(config, equal_area=True)).sum(dim=0) * 16000 / 2048
    np.testing.assert_allclose(areas.numpy(), 1.0, atol=0.02)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"f_max_hz": 9000.0}, "half the rate"),
        ({"f_min_hz": 8000.0}, "must rise"),
        ({"floor": 0.0}, "logarithm"),
        ({"logarithm": "natural", "dynamic_range_db": 80.0}, "inf"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        replace(hpt.FRONT_END, **wrong)

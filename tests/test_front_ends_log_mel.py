"""The front-end against what the authors' own programs compute."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filled import audio

from amtcli.checkpoints import hpt, onsets_velocities
from amtcli.front_ends.log_mel import LogMel, mel_filters

PARITY = Path(__file__).parent / "data" / "parity"
CLICK = replace(hpt.FRONT_END, window_samples=512, n_mels=40)


@pytest.mark.parametrize(
    ("name", "config", "n_samples", "tolerance_db"),
    [
        ("hpt", hpt.FRONT_END, 8000, 1e-4),  # Slaney's scale and areas
        # HTK's scale, 80 dB; torchaudio works the filters out in float32, which shows.
        ("onsets_velocities", onsets_velocities.FRONT_END, 16000, 4e-4),
    ],
)
def test_features_are_those_of_the_authors(name, config, n_samples, tolerance_db):
    theirs = np.load(PARITY / f"{name}.npz")["mel"]
    (ours,) = LogMel(config)([torch.from_numpy(audio(n_samples))[None]]).numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance_db)


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

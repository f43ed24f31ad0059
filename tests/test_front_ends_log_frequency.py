"""Where a tone and a click show, what the level does, and what a frame can hear."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from filled import audio

from amtcli.front_ends.log_frequency import (
    LogFrequency,
    LogFrequencyConfig,
    bin_frequencies_hz,
)

CONFIG = LogFrequencyConfig(
    sample_rate_hz=16000,
    hop_samples=400,
    window_samples=(4096, 1024),
    bins_per_semitone=3,
    lowest_pitch=21,
    n_semitones=98,
    floor_db=-90.0,
    lookahead_samples=2048,
)
CAUSAL = replace(CONFIG, lookahead_samples=800)


def tone(pitch, amplitude=1.0, n_samples=16000):
    hz = 440 * 2 ** ((pitch - 69) / 12)
    return (amplitude * torch.sin(2 * torch.pi * hz / 16000 * torch.arange(n_samples)))[None]


@pytest.mark.parametrize("pitch", [33, 45, 60, 81, 108])
def test_a_tone_shows_in_the_middle_bin_of_its_semitone(pitch):
    features = LogFrequency(CONFIG)([tone(pitch)])[0]
    assert features.shape == (40, 294, 2)
    assert int(features[20, :, 0].argmax()) == 3 * (pitch - 21) + 1


def test_a_full_scale_tone_is_as_far_above_the_floor_as_the_floor_says():
    pitch_of_a_point = 69  # 440 Hz lies 0.36 points off the nearest of the short window's
    loud, soft = (
        LogFrequency(CONFIG)([tone(pitch_of_a_point, a)])[0, 20, 145, 0] for a in (1.0, 0.1)
    )
    assert float(loud) == pytest.approx(90 / 20, abs=0.08)
    assert float(loud - soft) == pytest.approx(1.0, abs=1e-3)


def test_silence_is_zero():
    assert not LogFrequency(CONFIG)([torch.zeros(1, 4000)]).any()


@pytest.mark.parametrize("channel", [0, 1])
def test_a_frame_is_centred_on_its_sample(channel):
    samples = torch.zeros(1, 16000)
    samples[0, 20 * 400] = 1.0
    energy = LogFrequency(CONFIG)([samples])[0, :, :, channel].mean(dim=1)
    assert int(energy.argmax()) == 20
    assert float(energy[19]) == pytest.approx(float(energy[21]), abs=1e-3)


@pytest.mark.parametrize(("config", "ahead"), [(CONFIG, (2047, 511)), (CAUSAL, (799, 511))])
def test_no_window_hears_further_ahead_than_it_may(config, ahead):
    front_end, frame = LogFrequency(config), 20
    before = front_end([torch.from_numpy(audio(16000))[None]])
    for channel, reach in enumerate(ahead):
        later = torch.from_numpy(audio(16000))[None]
        later[0, frame * 400 + reach + 1 :] += 1.0
        assert torch.equal(front_end([later])[0, frame, :, channel], before[0, frame, :, channel])
        later[0, frame * 400 + reach] += 100.0
        heard = front_end([later])[0, frame, :, channel]
        assert not torch.equal(heard, before[0, frame, :, channel])


def test_a_frame_depends_on_its_own_windows_alone():
    front_end, whole = LogFrequency(CONFIG), torch.from_numpy(audio(32000))[None]
    part = front_end([whole[:, 8000:24000]])[0, 6:34]
    np.testing.assert_allclose(part, front_end([whole])[0, 26:54], rtol=0, atol=1e-4)


def test_bins_are_fractions_of_semitones():
    hz = bin_frequencies_hz(CONFIG)
    assert float(hz[1]) == pytest.approx(27.5)
    assert float(hz[145]) == pytest.approx(440.0)
    assert float(hz[-1] / hz[0]) == pytest.approx(2 ** (293 / 36))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"n_semitones": 99}, "below half the rate"),
        ({"bins_per_semitone": 2}, "must be odd"),
        ({"window_samples": ()}, "at least one"),
        ({"lookahead_samples": -1}, "negative"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, problem):
    with pytest.raises(ValueError, match=problem):
        replace(CONFIG, **change)

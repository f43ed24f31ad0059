"""Windows that every run computes alike: NumPy's and SciPy's, in the last place."""

import numpy as np
import pytest
import scipy.signal

from amtcli.checkpoints import hpt
from amtcli.front_ends.log_frequency import scaled_hann
from amtcli.front_ends.log_mel import LogMel
from amtcli.front_ends.multi_window_log_mel import MultiWindowLogMel, MultiWindowLogMelConfig

MULTI_WINDOW = MultiWindowLogMelConfig(
    sample_rate_hz=44100,
    window_samples=4096,
    hop_samples=1024,
    n_mels=229,
    f_min_hz=30.0,
    f_max_hz=8000.0,
    n_learned_windows=5,
    epsilon=1e-5,
)


@pytest.mark.parametrize("length", [1024, 4096])
def test_scaled_windows_are_exactly_scipys(length):
    hann = scipy.signal.get_window("hann", length)
    assert np.array_equal(scaled_hann(length), (hann * 2 / hann.sum()).astype(np.float32))


@pytest.mark.parametrize(
    "front_end",
    [LogMel(hpt.FRONT_END), MultiWindowLogMel(MULTI_WINDOW)],
    ids=["log_mel", "multi_window"],
)
def test_windows_of_mel_spectra_are_exactly_scipys(front_end):
    hann = scipy.signal.get_window("hann", front_end.config.window_samples)
    assert np.array_equal(front_end.hann, hann.astype(np.float32))

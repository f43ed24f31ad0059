"""What is said of a recording's level."""

import numpy as np
import pytest

from amtcli.audio import open_audio

RATE_HZ = 16_000
TONE = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)


def warnings(samples, *, mono=True):
    with open_audio(samples, RATE_HZ, mono=mono, source_rate_hz=RATE_HZ) as stream:
        for _ in stream:
            pass
        return stream.warnings


@pytest.mark.parametrize(("peak_db", "n_warnings"), [(-44, 0), (-46, 1), (-60, 1)])
def test_a_quiet_recording_is_told_with_its_level(peak_db, n_warnings):
    found = warnings(TONE * 10 ** (peak_db / 20))
    assert len(found) == n_warnings
    assert all(f"at most {peak_db} dB" in warning for warning in found)


def test_digital_silence_is_not_quiet():
    assert warnings(np.zeros(RATE_HZ, np.float32)) == ()


@pytest.mark.parametrize(
    ("right", "cancels"), [(-1.0, True), (-0.8, True), (0.0, False), (0.5, False)]
)
def test_channels_that_cancel_each_other_out_are_told(right, cancels):
    both = np.stack([0.5 * TONE, 0.5 * right * TONE])
    assert ("cancel" in " ".join(warnings(both))) == cancels
    assert warnings(both, mono=False) == ()

import numpy as np
import pytest

from amtcli.audio import open_audio
from amtcli.errors import AudioError


def read(array, rate_hz, **options):
    with open_audio(array, rate_hz, **options) as stream:
        blocks = list(stream)
    return np.concatenate(blocks, axis=1), stream


def test_floats_come_through_in_blocks():
    given = np.random.default_rng(0).uniform(-1, 1, (2, 5 * 16000)).astype(np.float32)
    with open_audio(given, 16000, source_rate_hz=16000) as stream:
        blocks = list(stream)
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), given)
    assert stream.duration_s == stream.expected_duration_s == 5.0
    assert (stream.n_channels, stream.warnings) == (2, ())


def test_one_dimension_is_one_channel():
    samples, stream = read(np.array([0.5, -0.25]), 8000, source_rate_hz=8000)
    np.testing.assert_array_equal(samples, [[0.5, -0.25]])
    assert stream.n_channels == 1


@pytest.mark.parametrize(
    ("dtype", "given"),
    [
        (np.int8, [-128, 0, 64]),
        (np.uint8, [0, 128, 192]),
        (np.int16, [-32768, 0, 16384]),
        (np.uint16, [0, 32768, 49152]),
        (np.int32, [-(2**31), 0, 2**30]),
        (np.float64, [-1.0, 0.0, 0.5]),
        (np.float16, [-1.0, 0.0, 0.5]),
    ],
)
def test_full_scale_is_that_of_the_type(dtype, given):
    samples, _ = read(np.array(given, dtype), 8000, source_rate_hz=8000)
    np.testing.assert_array_equal(samples, [[-1.0, 0.0, 0.5]])


def test_values_too_large_for_float32_become_zero_and_are_counted():
    samples, stream = read(np.array([1e300, 0.5, np.nan]), 8000, source_rate_hz=8000)
    np.testing.assert_array_equal(samples, [[0.0, 0.5, 0.0]])
    assert stream.warnings == ("2 samples were NaN or infinite and were set to 0",)


def test_the_given_array_is_left_as_it_is():
    given = np.array([[np.nan, 0.5]], np.float32)
    read(given, 8000, source_rate_hz=8000, mono=True)
    assert np.isnan(given[0, 0])


@pytest.mark.parametrize(
    ("array", "rate_hz", "message"),
    [
        (np.zeros(10), None, r"the array: has no sample rate; pass source_rate_hz"),
        (np.zeros((1, 2, 3)), 8000, r"has shape \(1, 2, 3\); pass \(samples,\)"),
        (np.zeros(()), 8000, r"has shape \(\); pass"),
        (np.zeros((44100, 2)), 8000, r"44100 channels; pass \(channels, samples\)"),
        (np.zeros(10, np.int64), 8000, "holds int64 values"),
        (np.zeros(10, complex), 8000, "holds complex128 values"),
        (np.zeros(10, bool), 8000, "holds bool values"),
        (np.zeros(0), 8000, "holds no audio samples"),
        (np.zeros((0, 10)), 8000, "holds no audio samples"),
        (np.zeros(10), 0, "sample rate of 0 Hz"),
    ],
)
def test_unusable_arrays_are_refused(array, rate_hz, message):
    with pytest.raises(AudioError, match=message):
        open_audio(array, 8000, source_rate_hz=rate_hz)


def test_a_given_name_stands_in_the_error():
    with pytest.raises(AudioError, match="take 2: holds no audio samples"):
        open_audio(np.zeros(0), 8000, source_rate_hz=8000, name="take 2")

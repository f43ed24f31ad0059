import numpy as np
import pytest

from amtcli.windows import FastWindow, WindowConfig, WindowSpec, cut_windows, owned_frames

SPEC = WindowSpec(length_samples=10, hop_samples=4, padding_samples=3)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 4, 7, 10, 11, 40, 41])
@pytest.mark.parametrize("block_samples", [1, 3, 100])
def test_windows_show_every_sample_at_its_place(n_samples, block_samples):
    audio = np.arange(1, 2 * n_samples + 1, dtype=np.float32).reshape(2, n_samples)
    starts = range(0, n_samples, block_samples)
    blocks = iter([audio[:, start : start + block_samples] for start in starts])
    windows = list(cut_windows(blocks, SPEC))
    padded = np.pad(audio, ((0, 0), (3, 100)))
    assert len(windows) == SPEC.n_windows(n_samples) == -(-(n_samples + 6) // 4)
    for index, window in enumerate(windows):
        start = SPEC.start_samples(index) + 3
        np.testing.assert_array_equal(window, padded[:, start : start + 10])


def test_no_audio_gives_no_windows():
    assert list(cut_windows(iter([]), SPEC)) == []


def test_windows_of_transkun_are_counted_as_its_authors_count_them():
    spec = WindowSpec(705600, 353280, 352800)
    # ceil((n + 705600) / 353280), specified for the reference program: 20 s give 5 windows
    assert spec.n_windows(20 * 44100) == 5
    assert spec.start_samples(0) == -352800
    assert spec.start_samples(2) == 2 * 353280 - 352800


def test_owned_frames_put_end_to_end_are_the_frames_of_the_recording():
    spec = WindowSpec(length_samples=20, hop_samples=12, padding_samples=4)
    owned = owned_frames(spec, frame_samples=2)
    audio = np.arange(100, dtype=np.float32)[None]
    frames = [window[0, ::2][owned] for window in cut_windows(iter([audio]), spec)]
    np.testing.assert_array_equal(np.concatenate(frames)[:50], audio[0, ::2])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((20, 12, 2), "half of the overlap"), ((20, 13, 3), "half of the overlap"),
     ((26, 12, 7), "whole frames of 2"), ((21, 13, 4), "whole frames of 2")],
)  # fmt: skip
def test_owned_frames_refuse_windows_that_fall_between_frames(sizes, message):
    with pytest.raises(ValueError, match=message):
        owned_frames(WindowSpec(*sizes), frame_samples=2)


def test_window_config_gives_the_wider_hop_on_request():
    config = WindowConfig(10, 4, 3, FastWindow(8, 1))
    assert config.spec(fast=False) == SPEC
    assert config.spec(fast=True) == WindowSpec(10, 8, 1)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((10, 11, 0), "hop_samples is 11"), ((10, 0, 0), "hop_samples is 0"),
     ((10, 4, 10), "padding_samples is 10"), ((10, 4, -1), "padding_samples is -1")],
)  # fmt: skip
def test_windows_that_would_leave_audio_out_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        WindowSpec(*sizes)

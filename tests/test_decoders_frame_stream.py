"""Joining the frames of windows."""

import numpy as np
import pytest

from amtcli.decoders.frame_stream import FrameStream, whole
from amtcli.windows import WindowSpec

FRAME = 10  # samples


def numbered(first, n_frames):
    return np.arange(first, first + n_frames, dtype=np.float32)[:, None]


def windows_of(spec, n_windows):
    """Windows whose rows hold the number of their frame in the recording."""
    n_frames = spec.length_samples // FRAME + 1
    return [numbered(spec.start_samples(k) // FRAME, n_frames) for k in range(n_windows)]


@pytest.mark.parametrize("padding", [0, 10, 20])
def test_every_frame_comes_out_once_with_its_context(padding):
    spec = WindowSpec(100, 60, padding)
    stream = FrameStream(spec, FRAME, 1, context_frames=3)
    stretches = [stream.push(rows) for rows in windows_of(spec, 4)] + [stream.finish()]
    middles = [s.rows[3 : 3 + len(s), 0] for s in stretches]
    n_frames = (4 * 60 - padding + 20) // FRAME
    np.testing.assert_array_equal(np.concatenate(middles), np.arange(n_frames))
    assert [s.first_frame for s in stretches] == [int(m[0]) for m in middles]
    before_and_after = np.pad(np.arange(n_frames), 3)
    for stretch in stretches:
        end = stretch.first_frame + len(stretch.rows)
        np.testing.assert_array_equal(
            stretch.rows[:, 0], before_and_after[stretch.first_frame : end]
        )


def test_a_silent_window_counts_as_zeros():
    spec = WindowSpec(100, 60, 20)
    stream = FrameStream(spec, FRAME, 1, context_frames=0)
    first, third = windows_of(spec, 3)[::2]
    rows = [stream.push(given).rows[:, 0] for given in (first, None, third)]
    np.testing.assert_array_equal(np.concatenate(rows), [*range(6), *[0] * 6, *range(12, 18)])


def test_hops_shorter_than_the_context_give_nothing_until_it_is_known():
    spec = WindowSpec(20, 20, 0)
    stream = FrameStream(spec, FRAME, 1, context_frames=3)
    lengths = [len(stream.push(rows)) for rows in windows_of(spec, 4)]
    assert lengths == [0, 1, 2, 2]
    assert len(stream.finish()) == 3


def test_more_padding_than_the_margin_is_refused():
    with pytest.raises(ValueError, match="at most half of the overlap"):
        FrameStream(WindowSpec(100, 60, 30), FRAME, 1, 1)


def test_a_whole_recording_is_one_stretch():
    stretch = whole(numbered(1, 4), 2)
    assert (stretch.first_frame, len(stretch)) == (0, 4)
    assert stretch.rows[:, 0].tolist() == [0, 0, 1, 2, 3, 4, 0, 0]

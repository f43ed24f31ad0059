"""The clock: samples as they are."""

import pytest
import torch

from amtcli.front_ends.clock import Clock, ClockConfig


def test_samples_come_out_as_they_are():
    windows = [torch.rand(1, 50), torch.rand(1, 50)]
    assert torch.equal(Clock(ClockConfig(100, 1))(windows), torch.cat(windows))


def test_a_frame_is_a_sample():
    with pytest.raises(ValueError, match="hop_samples is 2"):
        ClockConfig(100, 2)

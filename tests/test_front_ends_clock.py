"""The clock: the samples of its frames, as they are."""

import torch

from amtcli.front_ends.clock import Clock, ClockConfig


def test_samples_of_frames_come_out_as_they_are():
    windows = [torch.rand(1, 51), torch.rand(1, 51)]
    features = Clock(ClockConfig(1000, 10))(windows)
    assert torch.equal(features, torch.cat(windows)[:, [0, 10, 20, 30, 40, 50]])

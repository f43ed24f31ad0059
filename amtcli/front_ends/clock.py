"""No sound at all: what networks have that are told notes, and of audio need but its length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amtcli.front_ends.front_end import FrontEnd


@dataclass(frozen=True)
class ClockConfig:
    """A frame is the first of every ``hop_samples``."""

    sample_rate_hz: int
    hop_samples: int


class Clock(FrontEnd):
    """The samples of the frames as they are, (batch, frames)."""

    mono = True

    def __init__(self, config: ClockConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate_hz = config.sample_rate_hz

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """Stack windows, each (1, samples) and all equally long."""
        return torch.cat(list(windows))[:, :: self.config.hop_samples]

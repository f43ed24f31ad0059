"""No sound at all: what networks have that are told notes, and of audio need but its length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amtcli.front_ends.front_end import FrontEnd


@dataclass(frozen=True)
class ClockConfig:
    """How many frames a second has; one of them is one sample."""

    sample_rate_hz: int
    hop_samples: int

    def __post_init__(self) -> None:
        if self.hop_samples != 1:
            raise ValueError(f"hop_samples is {self.hop_samples}: frames of a clock are samples")


class Clock(FrontEnd):
    """Samples as they are, (batch, samples)."""

    mono = True

    def __init__(self, config: ClockConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate_hz = config.sample_rate_hz

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """Stack windows, each (1, samples) and all equally long."""
        return torch.cat(list(windows))

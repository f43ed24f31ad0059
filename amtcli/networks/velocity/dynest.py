"""DynEst: the multi-scale network of piano dynamics, with an output for each key.

There is no position in it; but two of its scales lie on a grid of ``stride`` and ``stride`` ** 2
frames from the window's start, so a window that begins elsewhere on that grid is heard a little
differently, and attention over the coarsest makes every answer depend on all of the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from amtcli.networks.multi_scale import NORM_MOMENTUM, MultiScaleEncoder
from amtcli.networks.velocity.score import Acoustic
from amtcli.notes import N_KEYS


@dataclass(frozen=True)
class DynestBranchConfig:
    """Sizes: bands of the features, frames of each scale that make one of the next."""

    kind: ClassVar[str] = "dynest"

    n_mels: int
    stride: int

    def __post_init__(self) -> None:
        if self.n_mels < 1 or self.stride < 1:
            raise ValueError("n_mels and stride must be at least 1")


class DynestBranch(nn.Module):
    """Log-mels (B, T, mels), at least ``stride`` ** 2 frames, to velocities."""

    def __init__(self, config: DynestBranchConfig) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(config.n_mels, momentum=NORM_MOMENTUM)
        self.encoder = MultiScaleEncoder(config.n_mels, N_KEYS, config.stride)

    def forward(self, features: Tensor) -> Acoustic:
        """Listen."""
        logits = self.encoder(self.norm(features.transpose(1, 2))).transpose(1, 2).float()
        return Acoustic(torch.sigmoid(logits), logits)

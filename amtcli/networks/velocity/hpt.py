"""The velocity column of Kong et al.'s network (IEEE/ACM TASLP 2021), alone.

Recurrent layers run both ways through the window, so every answer depends on all of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from amtcli.networks.hpt import AcousticModel, HptConfig
from amtcli.networks.velocity.score import Acoustic
from amtcli.notes import N_KEYS


@dataclass(frozen=True)
class HptBranchConfig:
    """Sizes, as in `amtcli.networks.hpt.HptConfig`."""

    kind: ClassVar[str] = "hpt"

    n_mels: int
    conv_channels: tuple[int, ...]
    dense_width: int
    recurrent_width: int
    norm_epsilon: float

    def __post_init__(self) -> None:
        self.as_hpt()

    def as_hpt(self) -> HptConfig:
        """Return the network of which this is a part."""
        return HptConfig(notes=True, pedals=False, **asdict(self))


class HptBranch(nn.Module):
    """Log-mels (B, T, mels) to velocities."""

    def __init__(self, config: HptBranchConfig) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(config.n_mels, eps=config.norm_epsilon)
        self.acoustic = AcousticModel(config.as_hpt(), N_KEYS)
        # Where it is part of HPT, the last block drops as the others do.
        self.acoustic.blocks[-1].dropout = 0.0  # type: ignore[assignment]

    def forward(self, features: Tensor) -> Acoustic:
        """Listen."""
        logits = self.acoustic(self.norm(features.transpose(1, 2)).transpose(1, 2)).float()
        return Acoustic(torch.sigmoid(logits), logits)

"""HPPNet (Wei et al., ISMIR 2022) with a head for velocities alone.

Its convolutions follow a note's overtones by their distances on a constant-Q axis of 48 bins per
octave. Its published velocities were computed on 128 log-mels, whose bins are no pitches: 32
columns come out and are stretched over the keys. That can be had, for comparison; the network
that its authors meant takes 352 bins of a constant-Q transform, four for each key.

Normalised over the window and recurrent in both directions: answers depend on all of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.networks.hppnet import BINS_PER_KEY, KeyLstm, Trunk
from amtcli.networks.velocity.score import Acoustic
from amtcli.notes import N_KEYS

_CERTAINTY = 1 - 1e-5  # stretched probabilities stay so far from 0 and 1 before their logarithm


@dataclass(frozen=True)
class HppnetBranchConfig:
    """Sizes; ``n_bins`` 352 is a constant-Q axis, of other numbers the columns are stretched."""

    kind: ClassVar[str] = "hppnet"

    n_bins: int
    width: int

    def __post_init__(self) -> None:
        if self.n_bins < BINS_PER_KEY or self.width < 2:
            raise ValueError(f"n_bins must be at least {BINS_PER_KEY}, width at least 2")


class HppnetBranch(nn.Module):
    """Features (B, T, bins) or (B, 1, T, bins), in decibels, to velocities.

    Frames that are NaN lie in digital silence around a recording. They are left out, as they
    would shift the statistics that the network normalises by; the velocity there is 0.5.
    """

    def __init__(self, config: HppnetBranchConfig) -> None:
        super().__init__()
        self.trunk = Trunk(1, config.width)
        self.head = KeyLstm(config.width, config.width // 2)

    def forward(self, features: Tensor) -> Acoustic:
        """Listen."""
        x = features if features.dim() == 4 else features[:, None]
        is_silent = x[:, 0, :, 0].isnan()
        if not is_silent.any():
            logits = self._columns(x)
        elif len(x) > 1:
            logits = torch.cat([self(window).logits for window in x.split(1)])
        else:
            sounding = (~is_silent[0]).nonzero()
            first, last = int(sounding[0]), int(sounding[-1])
            around = (0, 0, first, x.shape[2] - 1 - last)
            logits = F.pad(self._columns(x[:, :, first : last + 1]), around)
        return Acoustic(torch.sigmoid(logits), logits)

    def _columns(self, x: Tensor) -> Tensor:
        """Compute logits (B, T, 88); what is stretched are probabilities."""
        logits: Tensor = self.head(self.trunk(x)).float()
        if logits.shape[-1] == N_KEYS:
            return logits
        stretched = F.interpolate(torch.sigmoid(logits), N_KEYS, mode="linear")
        return torch.logit(stretched.clamp(1 - _CERTAINTY, _CERTAINTY))

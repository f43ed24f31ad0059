"""HPPNet on a harmonic constant-Q spectrogram: one bin per key and one channel per harmonic.

After AMT_Piano of Javier Villatoro (2025), a variant of HPPNet (Wei, Li, Yu and Li, ISMIR 2022)
that needs no pooling, because its input already has one bin per key. Shapes: B windows, T frames.

The answer depends on the whole window (instance normalisation over it, recurrence in both
directions), so window length is part of the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.decoders.frames import FrameActivations
from amtcli.networks.hppnet import HEADS, KeyLstm, over_recording
from amtcli.networks.network import Network

_KEYS_PER_OCTAVE = 12
_HARMONICS = range(1, 5)
_BLOCK_DILATION = 3  # keys
_N_BLOCKS = 4


@dataclass(frozen=True)
class HcqtHppnetConfig:
    """Sizes of the network; the blocks before the heads are twice ``base_channels`` wide."""

    n_input_channels: int
    base_channels: int
    lstm_width: int


class HcqtHppnet(Network):
    """Features (B, channels, T, 88) to logits per frame and key."""

    def __init__(self, config: HcqtHppnetConfig) -> None:
        super().__init__()
        base = config.base_channels
        width = 2 * base
        self.stem = nn.ModuleList(
            [nn.Conv2d(config.n_input_channels, base, 5, padding=2)]
            + [nn.Conv2d(base, base, 3, padding=1) for _ in range(2)]
        )
        self.harmonics = nn.ModuleList(
            _dilated(base, max(1, round(_KEYS_PER_OCTAVE * math.log2(harmonic))))
            for harmonic in _HARMONICS
        )
        self.widen = nn.Conv2d(base, width, 1)
        self.blocks = nn.ModuleList(_dilated(width, _BLOCK_DILATION) for _ in range(_N_BLOCKS))
        self.heads = nn.ModuleDict({name: KeyLstm(width, config.lstm_width) for name in HEADS})
        self._autocast = False

    def prepare(self, precision: str) -> None:
        """Let convolutions and recurrence run in bf16, if that is asked for."""
        self._autocast = precision == "bf16"

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Compute the logits (B, T, 88) of all heads."""
        x = features
        for convolve in self.stem:
            x = F.relu(F.instance_norm(convolve(x)))
        x = torch.stack([convolve(x) for convolve in self.harmonics]).sum(dim=0)
        x = self.widen(F.relu(F.instance_norm(x)))
        for convolve in self.blocks:
            x = F.relu(F.instance_norm(convolve(x)))
        return {name: head(x) for name, head in self.heads.items()}

    def activations(self, features: Tensor) -> list[FrameActivations]:
        """Compute what the decoder is fed, one item per window."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self._autocast):
            return over_recording(features, self._probabilities)

    def _probabilities(self, features: Tensor) -> dict[str, Tensor]:
        return {name: torch.sigmoid(logits.float()) for name, logits in self(features).items()}


def _dilated(n_channels: int, distance: int) -> nn.Conv2d:
    """Join three frames of every key with those of the keys ``distance`` below and above it."""
    return nn.Conv2d(n_channels, n_channels, 3, padding=(1, distance), dilation=(1, distance))

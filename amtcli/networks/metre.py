"""Metre: beats and downbeats from notes alone, wherever these come from.

It hears no sound. A recurrent network goes forwards and backwards over what is struck (see
`strikes`), one step for all keys struck together, so a step of it is a step of the music, and an
hour takes seconds. Beats that nothing is struck on are not found. Of our own design; that
recurrent networks over notes find beats well is from Liu et al., "Performance MIDI-to-Score
Conversion by Neural Beat Tracking" (ISMIR 2022).

Shapes: B windows, N strikes, F features, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from amtcli.decoders.beats import BeatActivations
from amtcli.networks.network import Network
from amtcli.networks.strikes import N_FEATURES, Strikes
from amtcli.notes import DYNAMICS

_DROPOUT = 0.2
_KERNEL = 5  # strikes


@dataclass(frozen=True)
class MetreConfig:
    """Sizes: channels of every layer, and recurrent layers."""

    width: int
    n_layers: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.n_layers < 1:
            raise ValueError("width and n_layers must be at least 1")


class MetreLogits(NamedTuple):
    """Logits (B, N) of a beat, and of a downbeat, on each strike."""

    beat: Tensor
    downbeat: Tensor


class BothWays(nn.Module):
    """Recurrent layers forwards and backwards, (B, N, C) to (B, N, 2 * n_out).

    Backwards begins with a window's last strike, whatever it is batched with. (PyTorch's packed
    sequences do the same, several times as slowly on a CPU.)
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.forwards = nn.GRU(n_in, n_out, batch_first=True)
        self.backwards = nn.GRU(n_in, n_out, batch_first=True)

    def forward(self, x: Tensor, n_strikes: Tensor) -> Tensor:
        """Go both ways over the first ``n_strikes`` (B,); what follows them means nothing."""
        before = n_strikes[:, None] - 1 - torch.arange(x.shape[1], device=x.device)
        turned = before.clamp(min=0)[..., None]
        forwards, _ = self.forwards(x)
        backwards, _ = self.backwards(x.gather(1, turned.expand_as(x)))
        return torch.cat([forwards, backwards.gather(1, turned.expand_as(backwards))], dim=-1)


class Metre(Network):
    """Strikes of windows to logits; behind the last strike of a window they mean nothing."""

    def __init__(self, config: MetreConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(N_FEATURES)
        self.input = nn.Linear(N_FEATURES, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2) for _ in range(2)
        )
        self.recurrent = nn.ModuleList(
            BothWays(width if layer == 0 else 2 * width, width) for layer in range(config.n_layers)
        )
        self.output = nn.Linear(2 * width, len(MetreLogits._fields))

    @property
    def precisions(self) -> tuple[str, ...]:
        """Offer float32 alone: there is too little to compute."""
        return ("float32",)

    def prepare(self, precision: str) -> None:
        """Nothing is to be done for float32."""

    def forward(self, features: Tensor, n_strikes: Tensor) -> MetreLogits:
        """Compute logits of features (B, N, F), of which the first ``n_strikes`` (B,) count."""
        is_one = torch.arange(features.shape[1], device=features.device) < n_strikes[:, None]
        inside = is_one[..., None].to(features.dtype)
        x = F.gelu(self.input(self.norm(features))) * inside
        for convolution in self.convolutions:
            x = (x + F.gelu(convolution(x.transpose(1, 2))).transpose(1, 2)) * inside
        x = F.dropout(x, _DROPOUT / 2, self.training)
        for both_ways in self.recurrent:
            x = F.dropout(both_ways(x, n_strikes), _DROPOUT, self.training)
        return MetreLogits(*self.output(x).unbind(dim=-1))

    def activations(self, features: Tensor) -> list[BeatActivations]:
        """Find nothing: what is to be heard are notes, by `activations_of`."""
        return [_nothing(features.shape[1]) for _ in features]

    def activations_of(
        self, windows: Sequence[Strikes], n_frames: int, frame_s: float
    ) -> list[BeatActivations]:
        """Compute probabilities on ``n_frames`` frames of each window, ``frame_s`` apart."""
        device = self.output.weight.device
        features = [torch.from_numpy(window.features) for window in windows]
        n_strikes = torch.tensor([len(window) for window in windows])
        batch = pad_sequence(features, batch_first=True)
        if not batch.shape[1]:
            return [_nothing(n_frames) for _ in windows]
        logits = self(batch.to(device), n_strikes.to(device))
        heads = torch.stack(logits, dim=1).float().sigmoid().cpu().numpy()
        return [
            _on_frames(
                np.rint(window.onset_s / frame_s).astype(np.int64), head[:, : len(window)], n_frames
            )
            for window, head in zip(windows, heads, strict=True)
        ]


def _nothing(n_frames: int) -> BeatActivations:
    return _on_frames(np.empty(0, np.int64), np.empty((2, 0), np.float32), n_frames)


def _on_frames(
    frames: NDArray[np.int64], heads: NDArray[np.float32], n_frames: int
) -> BeatActivations:
    """Lay probabilities (2, n) on their frames; where two meet, the greater counts."""
    rolls = np.zeros((2, n_frames), np.float32)
    own = (frames >= 0) & (frames < n_frames)
    for roll, head in zip(rolls, heads, strict=True):
        np.maximum.at(roll, frames[own], head[own])
    nothing = np.zeros((n_frames, 1 + len(DYNAMICS)), np.float32)
    return BeatActivations(rolls[0], rolls[1], nothing[:, 0], nothing[:, 1:])

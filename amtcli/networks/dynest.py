"""DynEst: beats, downbeats, dynamics and where these change, from the loudness of bands.

He et al., "Joint Estimation of Piano Dynamics and Metrical Structure with a Multi-task Multi-Scale
Network" (ICASSP 2026): one encoder at three scales of time, experts that all tasks share, and for
each task a gate that weighs them frame by frame (multi-gate mixture of experts). The authors'
network has a projection for each task, too, whose result it throws away: it is not built here, so
their 445,053 parameters for 22 bands, of the published sizes, are 444,765 of ours.

Two of the scales lie on a grid of ``stride`` and ``stride`` ** 2 frames from the window's start,
and attention over the coarsest makes every answer depend on all of the window. Shapes: B windows,
T frames, E experts, K tasks, C latent channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.decoders.beats import BeatActivations
from amtcli.networks.multi_scale import NORM_MOMENTUM, MultiScaleEncoder
from amtcli.networks.network import Network
from amtcli.notes import DYNAMICS

N_BLANK = 1  # the class before those of DYNAMICS, for frames before the first beat
_DROPOUT = 0.2
_OUTPUTS = {"beat": 1, "downbeat": 1, "change": 1, "dynamics": N_BLANK + len(DYNAMICS)}


@dataclass(frozen=True)
class DynestConfig:
    """Sizes: bands of the features, frames of each scale that make one of the next."""

    n_features: int
    stride: int
    n_latent: int
    n_experts: int

    def __post_init__(self) -> None:
        if min(self.n_features, self.stride, self.n_latent, self.n_experts) < 1:
            raise ValueError("n_features, stride, n_latent and n_experts must be at least 1")


class DynestLogits(NamedTuple):
    """Logits of every frame: (B, T), but (B, T, 6) of ``dynamics``, the blank class first."""

    beat: Tensor
    downbeat: Tensor
    change: Tensor
    dynamics: Tensor


class Mixture(nn.Module):
    """Experts that hear five frames each, and their sums as each task weighs them."""

    def __init__(self, n_channels: int, n_experts: int, n_tasks: int) -> None:
        super().__init__()
        n_all = n_experts * n_channels
        self.expert_shape = (n_experts, n_channels)
        self.gate_shape = (n_tasks, n_experts)
        self.hidden = nn.Conv1d(n_channels, n_all, 3, padding=1)
        self.experts = nn.Conv1d(n_all, n_all, 3, padding=1, groups=n_experts)
        self.gates = nn.Linear(n_channels, n_tasks * n_experts)

    def forward(self, latent: Tensor) -> Tensor:
        """(B, C, T) to (K, B, T, C)."""
        said = self.experts(F.relu(self.hidden(latent))).unflatten(1, self.expert_shape)
        gates = self.gates(latent.transpose(1, 2)).unflatten(-1, self.gate_shape)
        return torch.einsum("btke,bect->kbtc", gates.softmax(dim=-1), said)


class Dynest(Network):
    """Features (B, T, n_features), at least ``stride`` ** 2 frames, to beats and dynamics."""

    def __init__(self, config: DynestConfig) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(config.n_features, momentum=NORM_MOMENTUM)
        self.encoder = MultiScaleEncoder(config.n_features, config.n_latent, config.stride)
        self.mixture = Mixture(config.n_latent, config.n_experts, len(_OUTPUTS))
        self.heads = nn.ModuleDict({k: _head(config.n_latent, n) for k, n in _OUTPUTS.items()})
        self._is_bf16 = False

    def prepare(self, precision: str) -> None:
        """Take note of the precision: in bf16 the whole network runs under autocast."""
        self._is_bf16 = precision == "bf16"

    def forward(self, features: Tensor) -> DynestLogits:
        """Compute all heads."""
        latent = self.encoder(self.norm(features.transpose(1, 2)))
        mixed = self.mixture(F.dropout(latent, _DROPOUT, self.training))
        beat, downbeat, change, dynamics = (
            head(x) for head, x in zip(self.heads.values(), mixed, strict=True)
        )
        return DynestLogits(beat[..., 0], downbeat[..., 0], change[..., 0], dynamics)

    def activations(self, features: Tensor) -> list[BeatActivations]:
        """Compute probabilities, one item per window.

        Those of dynamics are of the five without the blank one: no beat has it, so nothing is
        learnt of it.
        """
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self._is_bf16):
            *events, dynamics = self(features)
        heads = [logits.float().sigmoid() for logits in events]
        heads.append(dynamics[..., N_BLANK:].float().softmax(dim=-1))
        arrays = (head.cpu().numpy() for head in heads)
        return [BeatActivations(*window) for window in zip(*arrays, strict=True)]


def _head(n_in: int, n_out: int) -> nn.Linear:
    """Make a layer that starts as the authors' does."""
    head = nn.Linear(n_in, n_out)
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.bias)
    return head

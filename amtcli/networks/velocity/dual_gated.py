"""Two experts and a gate: one changes what was heard, one guesses from the score alone.

All three are small convolutional networks over frames and keys, normalised over the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.networks.velocity.score import Acoustic, Condition, ScoreRolls

N_GROUPS = 8
_RESIDUAL_SHARE = 0.1


@dataclass(frozen=True)
class DualGatedConfig:
    """What the score says, sizes, and how far the first expert may move what was heard."""

    kind: ClassVar[str] = "dual_gated"

    conditions: tuple[Condition, ...]
    width: int
    n_blocks: int
    max_change: float

    def __post_init__(self) -> None:
        if not self.conditions:
            raise ValueError("conditions must name at least one: an expert hears nothing else")
        if self.width % N_GROUPS:
            raise ValueError(f"width must be a multiple of {N_GROUPS}")


class Expert(nn.Module):
    """Maps (B, n_in, T, K) to one value per cell, (B, T, K)."""

    def __init__(self, n_in: int, config: DualGatedConfig) -> None:
        super().__init__()
        width = config.width
        self.input = nn.Conv2d(n_in, width, 1)
        self.near = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
            for _ in range(config.n_blocks)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(N_GROUPS, width) for _ in range(config.n_blocks))
        self.across = nn.ModuleList(
            nn.Conv2d(width, width, 1, bias=False) for _ in range(config.n_blocks)
        )
        self.output = nn.Conv2d(width, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Judge."""
        x = self.input(maps)
        for near, norm, across in zip(self.near, self.norms, self.across, strict=True):
            x = x + _RESIDUAL_SHARE * across(F.silu(norm(near(x))))
        judged: Tensor = self.output(x)[:, 0]
        return judged


class DualGated(nn.Module):
    """Velocities between those of two experts."""

    def __init__(self, config: DualGatedConfig) -> None:
        super().__init__()
        self._config = config
        n_conditions = len(config.conditions)
        self.of_sound = Expert(1 + n_conditions, config)
        self.of_score = Expert(n_conditions, config)
        self.gate = Expert(1 + n_conditions, config)

    def forward(self, acoustic: Acoustic, score: ScoreRolls) -> Tensor:
        """Return velocities (B, T, K)."""
        told = score.stacked(self._config.conditions)
        both = torch.cat([acoustic.logits[:, None], told], dim=1)
        change = self._config.max_change * torch.tanh(self.of_sound(both))
        heard = (acoustic.velocity + change).clamp(0, 1)
        guessed = torch.sigmoid(self.of_score(told))
        return torch.lerp(guessed, heard, torch.sigmoid(self.gate(both)))

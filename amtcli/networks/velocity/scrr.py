"""SCRR: dilated convolutions over what was heard, modulated cell by cell by the score.

Modulation is that of FiLM (Perez et al., AAAI 2018). Normalised over the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.networks.velocity.score import Acoustic, Condition, ScoreRolls

N_GROUPS = 8
_FIRST_SHARE = 0.1  # of what a block adds, before it has learnt


@dataclass(frozen=True)
class ScrrConfig:
    """What the score says, sizes, and how far velocities may move.

    hears_velocity: velocities are an input beside their logits.
    dilations: in frames, one for each block.
    """

    kind: ClassVar[str] = "scrr"

    conditions: tuple[Condition, ...]
    hears_velocity: bool
    width: int
    dilations: tuple[int, ...]
    max_change: float

    def __post_init__(self) -> None:
        if not self.conditions:
            raise ValueError("conditions must name at least one")
        if self.width % N_GROUPS:
            raise ValueError(f"width must be a multiple of {N_GROUPS}")


class Block(nn.Module):
    """Neighbours in time, dilated, and on the keyboard, modulated; beside a way around."""

    def __init__(self, width: int, n_conditions: int, dilation: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(
            width,
            width,
            3,
            padding=(dilation, 1),
            dilation=(dilation, 1),
            groups=width,
            bias=False,
        )
        self.norm = nn.GroupNorm(N_GROUPS, width)
        self.across = nn.Conv2d(width, width, 1, bias=False)
        self.modulation = nn.Conv2d(n_conditions, 2 * width, 1)
        self.share = nn.Parameter(torch.tensor(_FIRST_SHARE))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """(B, width, T, K) and conditions (B, C, T, K) to the shape of the first."""
        scale, shift = self.modulation(told).chunk(2, dim=1)
        y = self.across(F.silu(self.norm(self.near(x))))
        result: Tensor = x + self.share * (y * (1 + scale) + shift)
        return result


class Scrr(nn.Module):
    """Velocities, each moved by ``max_change`` at most."""

    def __init__(self, config: ScrrConfig) -> None:
        super().__init__()
        self._config = config
        self.input = nn.Conv2d(1 + config.hears_velocity, config.width, 1)
        self.blocks = nn.ModuleList(
            Block(config.width, len(config.conditions), dilation) for dilation in config.dilations
        )
        self.output = nn.Conv2d(config.width, 1, 1)

    def forward(self, acoustic: Acoustic, score: ScoreRolls) -> Tensor:
        """Return velocities (B, T, K)."""
        told = score.stacked(self._config.conditions)
        heard = [acoustic.logits]
        if self._config.hears_velocity:
            heard.append(acoustic.velocity)
        x = self.input(torch.stack(heard, dim=1))
        for block in self.blocks:
            x = block(x, told)
        change = self._config.max_change * torch.tanh(self.output(x)[:, 0])
        return (acoustic.velocity + change).clamp(0, 1)

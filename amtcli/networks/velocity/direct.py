"""No correction: what the branch hears is the answer, and the score says only where to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from amtcli.networks.velocity.score import Acoustic, ScoreRolls


@dataclass(frozen=True)
class DirectConfig:
    """Nothing to choose."""

    kind: ClassVar[str] = "direct"


class Direct(nn.Module):
    """The branch's velocities as they are."""

    def __init__(self, config: DirectConfig) -> None:
        super().__init__()

    def forward(self, acoustic: Acoustic, score: ScoreRolls) -> Tensor:
        """Return velocities (B, T, K)."""
        return acoustic.velocity

"""A recurrent layer over what was heard and what the score says of all keys.

It runs both ways through the window, so every answer depends on all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from amtcli.networks.velocity.score import Acoustic, Condition, ScoreRolls
from amtcli.notes import N_KEYS


@dataclass(frozen=True)
class BiLstmConfig:
    """Sizes; whether the answer is new ("replace") or moves what was heard by ``max_change``."""

    kind: ClassVar[str] = "bilstm"

    conditions: tuple[Condition, ...]
    width: int
    n_layers: int
    dropout: float
    mode: Literal["replace", "change"]
    max_change: float


class BiLstm(nn.Module):
    """Velocities from logits and conditions, side by side over the keys."""

    def __init__(self, config: BiLstmConfig) -> None:
        super().__init__()
        self._config = config
        self.lstm = nn.LSTM(
            N_KEYS * (1 + len(config.conditions)),
            config.width,
            config.n_layers,
            dropout=config.dropout if config.n_layers > 1 else 0.0,
            bidirectional=True,
            batch_first=True,
        )
        self.output = nn.Linear(2 * config.width, N_KEYS)

    def forward(self, acoustic: Acoustic, score: ScoreRolls) -> Tensor:
        """Return velocities (B, T, K)."""
        told = [score.condition(name) for name in self._config.conditions]
        x, _ = self.lstm(torch.cat([acoustic.logits, *told], dim=-1))
        answer = self.output(x)
        if self._config.mode == "replace":
            return torch.sigmoid(answer)
        return (acoustic.velocity + self._config.max_change * torch.tanh(answer)).clamp(0, 1)

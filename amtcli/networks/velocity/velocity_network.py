"""What the networks that hear velocities have in common."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amtcli.networks.network import Network
from amtcli.networks.velocity.score import ScoreRolls, no_score


class VelocityNetwork(Network):
    """Features (B, ..., T, bins) and the score's rolls to velocities (B, T, 88) in 0-1."""

    def __init__(self) -> None:
        super().__init__()
        self._bf16 = False

    def prepare(self, precision: str) -> None:
        """Let what listens run in bf16, if that is asked for; what follows it stays in float32."""
        self._bf16 = precision == "bf16"

    def n_frames(self, features: Tensor) -> int:
        """Count the frames of features."""
        return features.shape[-2]

    @abstractmethod
    def estimate(self, features: Tensor, score: ScoreRolls) -> Tensor:
        """Compute float32 velocities; the rolls have as many frames as the features."""

    def forward(self, features: Tensor, score: ScoreRolls | None = None) -> Tensor:
        """Compute velocities (B, T, 88) in 0-1, where 1 is 128 on MIDI's scale.

        Rolls may be longer than the features: a front-end may leave out the last frame. Without
        a score there are no notes in it.
        """
        n_frames = self.n_frames(features)
        if score is None:
            score = no_score(len(features), n_frames, features.device)
        return self.estimate(features, score.fitted(n_frames))

    def activations(
        self, features: Tensor, score: ScoreRolls | None = None
    ) -> list[NDArray[np.float32]]:
        """Compute the velocities (T, 88) of each window, in main memory."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self._bf16):
            velocities = self(features, score)
        return list(velocities.float().cpu().numpy())

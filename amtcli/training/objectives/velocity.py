"""What networks learn that hear the velocities of a given score's notes.

Velocities are shares of VELOCITY_SCALE, 128, as in all of the published programs; the greatest of
MIDI is just below 1. The score that the network is told may be altered; what it learns are the
velocities that were played, at the onsets that the altered score has, where they will be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from amtcli.decoders.regression import VELOCITY_SCALE
from amtcli.networks.network import Network
from amtcli.networks.velocity.score import ScoreRolls, score_rolls
from amtcli.notes import N_KEYS
from amtcli.training.objectives.losses import added_up, matched, mean_over
from amtcli.training.objectives.objective import Loss, Objective, Targets, WindowLabels
from amtcli.training.objectives.told_notes import generator_of, notes_of_labels
from amtcli.training.rolls import FrameGrid, fill, nearest
from amtcli.training.score_alteration import ScoreAlterationConfig, alter_score

_CERTAINTY = 1 - 1e-7  # answers stay so far from 0 and 1 that their logarithms are finite


@dataclass(frozen=True)
class VelocityObjectiveConfig:
    """The clock of the frames, the loss, and how scores are altered.

    loss: "velocity_bce" is the cross-entropy in the cells of onsets (Kong et al., TASLP 2021),
        "velocity_mse" the squared error there (Hawthorne et al., ISMIR 2018), "kim_bce_l1" mixes
        the cross-entropy wherever a note sounds with the absolute error at onsets (Kim and
        Serra, ISMIR 2024).
    bce_share: of that mixture; the rest is the absolute error.
    """

    sample_rate_hz: int
    hop_samples: int
    loss: Literal["kim_bce_l1", "velocity_bce", "velocity_mse"]
    bce_share: float
    score: ScoreAlterationConfig

    def __post_init__(self) -> None:
        if not 0 <= self.bce_share <= 1:
            raise ValueError("bce_share must lie between 0 and 1")


class VelocityObjective(Objective):
    """Velocities of a score's notes, where they begin and while they sound."""

    def __init__(self, config: VelocityObjectiveConfig) -> None:
        self._config = config

    def targets(self, window: WindowLabels) -> Targets:
        """Make arrays (frames, 88): the score's rolls, and ``velocity``.

        The latter is MIDI's from a note's onset to the end of its sound. It is 0, which counts in
        no loss, where no note sounds, in notes that began before the window, whose stroke is not
        heard, and in those of the score that were not played. Notes that last beyond the window
        count: how hard they were struck is heard.
        """
        config = self._config
        grid = FrameGrid.over(window.duration_s, config.sample_rate_hz, config.hop_samples)
        notes = notes_of_labels(window.labels)
        notes = alter_score(notes, config.score, generator_of(notes))
        first = nearest(grid.frames(notes.onset_s))
        stop = np.maximum(nearest(grid.frames(notes.sounding_end_s)), first) + 1
        heard = np.where(first >= 0, notes.velocity, 0)
        velocity = np.zeros((grid.n_frames, N_KEYS), np.uint8)
        fill(velocity, first, stop, notes.key, heard)
        rolls = score_rolls(notes, grid.n_frames, config.hop_samples / config.sample_rate_hz)
        return {**rolls, "velocity": velocity}

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Average over all cells that count in this part of the batch."""
        score = ScoreRolls(*(targets[name].float() for name in ScoreRolls._fields))
        answer = network(features, score).float()
        targets = matched(targets, answer.shape[1])
        velocity = targets["velocity"].float() / VELOCITY_SCALE
        sounds = velocity > 0
        begins = sounds & (targets["onset"] > 0)
        if self._config.loss == "velocity_mse":
            return added_up({"mse": mean_over((answer - velocity) ** 2, begins)})
        entropies = cross_entropies_of(answer, velocity)
        if self._config.loss == "velocity_bce":
            return added_up({"bce": mean_over(entropies, begins)})
        share = self._config.bce_share
        return added_up(
            {
                "bce": share * mean_over(entropies, sounds),
                "l1": (1 - share) * mean_over((answer - velocity).abs(), begins),
            }
        )


def cross_entropies_of(answer: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of each cell, from probabilities; safe under autocast."""
    sure = answer.clamp(1 - _CERTAINTY, _CERTAINTY)
    return -(target * torch.log(sure) + (1 - target) * torch.log1p(-sure))

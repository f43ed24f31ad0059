"""What Onsets and Velocities learns: where keys are struck, and how hard.

Fernandez, "Onsets and Velocities" (EUSIPCO 2023), as its author trains it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from amtcli.networks.network import Network
from amtcli.notes import N_KEYS
from amtcli.training.objectives.losses import added_up, cross_entropies, matched
from amtcli.training.objectives.objective import Loss, Objective, Targets, WindowLabels
from amtcli.training.rolls import FrameGrid, cells, note_frames


@dataclass(frozen=True)
class OnsetsVelocitiesObjectiveConfig:
    """The clock of the frames, and the weights of the loss.

    onset_frames: frames that an onset lasts, from the one that it falls into.
    onset_weight: how much more a cell counts that is an onset.
    velocity_weight: how much the velocities count beside the onsets.
    """

    sample_rate_hz: int
    hop_samples: int
    onset_frames: int
    onset_weight: float
    velocity_weight: float


class OnsetsVelocitiesObjective(Objective):
    """Cross-entropy of the onsets after every stage, and of the velocities at the onsets."""

    def __init__(self, config: OnsetsVelocitiesObjectiveConfig) -> None:
        self._config = config

    def targets(self, window: WindowLabels) -> Targets:
        """Hold MIDI velocities (frames, 88) over the frames of each onset; 0 elsewhere.

        Of two onsets in one cell the louder counts.
        """
        config = self._config
        grid = FrameGrid.over(window.duration_s, config.sample_rate_hz, config.hop_samples)
        notes = note_frames(window.labels, grid, pedal_extends_notes=False)
        first = np.floor(notes.onset + 1e-6).astype(np.int64)
        frame, note = cells(first, first + config.onset_frames, grid.n_frames)
        velocity = np.zeros((grid.n_frames, N_KEYS), np.uint8)
        loudness = notes.velocity[note].astype(np.uint8)
        np.maximum.at(velocity, (frame, notes.key[note]), loudness)
        return {"velocity": velocity}

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Compare; the velocities' mean is over all cells, with zeros where no onset is."""
        config = self._config
        heads = network(features)
        # The network answers for every frame but the first.
        target = matched(targets, heads["velocity"].shape[1] + 1)["velocity"][:, 1:].float()
        is_onset = (target > 0).float()
        stages = heads["onset"]
        onset = cross_entropies(stages, is_onset.expand_as(stages), config.onset_weight).mean()
        off = cross_entropies(heads["velocity"], target / 127)
        velocity = config.velocity_weight * (off * is_onset).mean()
        return added_up({"onset": onset, "velocity": velocity})

"""What the multi-state autoregressive network learns: the state of every key in every frame.

Kwon, Jeong and Nam (ISMIR 2020); labels shifted against the audio: Jeong's "low-latency-amt".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from amtcli.decoders.note_states import OFF
from amtcli.networks.network import Network
from amtcli.training.objectives.losses import added_up, matched
from amtcli.training.objectives.objective import Loss, Objective, Targets, WindowLabels
from amtcli.training.objectives.state_rolls import event_frames
from amtcli.training.rolls import FrameGrid, note_frames, note_states


@dataclass(frozen=True)
class AutoregressiveObjectiveConfig:
    """The clock of the frames, and the targets.

    label_shift_frames: frame n is to tell the states of frame n + label_shift_frames, for which
        it hears so many frames less ahead; the decoder has the same setting.
    """

    sample_rate_hz: int
    hop_samples: int
    pedal_extends_notes: bool
    label_shift_frames: int

    def __post_init__(self) -> None:
        if self.label_shift_frames < 0:
            raise ValueError(f"label_shift_frames is {self.label_shift_frames}, below 0")


class AutoregressiveObjective(Objective):
    """Cross-entropy over five states; the network is told the true states of the frame before."""

    def __init__(self, config: AutoregressiveObjectiveConfig) -> None:
        self._config = config

    def targets(self, window: WindowLabels) -> Targets:
        """Make an array (frames, 88) of states, already shifted; behind the window all is off."""
        config = self._config
        grid = FrameGrid.over(window.duration_s, config.sample_rate_hz, config.hop_samples)
        extends = config.pedal_extends_notes
        notes = note_frames(window.labels, grid, pedal_extends_notes=extends)
        states = note_states(notes, grid.n_frames, event_frames(grid))
        n_known = max(grid.n_frames - config.label_shift_frames, 0)
        shifted = np.full_like(states, OFF)
        shifted[:n_known] = states[config.label_shift_frames :]
        return {"states": shifted}

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Average over the frames whose states lie within the window."""
        n_frames = features.shape[1]
        states = matched(targets, n_frames)["states"].long()
        logits = network(features, states).float()
        n_known = n_frames - self._config.label_shift_frames
        states, logits = states[:, :n_known], logits[:, :n_known]
        return added_up({"states": F.cross_entropy(logits.flatten(0, 2), states.flatten())})

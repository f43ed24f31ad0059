"""What HPPNet learns, and its variant on a harmonic constant-Q spectrogram.

Wei et al., "HPPNet" (ISMIR 2022), section 3.3, and AMT_Piano of Javier Villatoro (2025), both as
their programs do it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amtcli.networks.network import Network
from amtcli.notes import N_KEYS
from amtcli.training.objectives.losses import added_up, cross_entropies, matched, mean_over
from amtcli.training.objectives.objective import Loss, Objective, Targets, WindowLabels
from amtcli.training.objectives.state_rolls import VELOCITY_SCALE, state_rolls
from amtcli.training.rolls import FrameGrid, note_frames, triangles, velocities

HCQT_HALF_WIDTH_FRAMES = 1.0
HCQT_VELOCITY_SCALE = 127


@dataclass(frozen=True)
class HppnetObjectiveConfig:
    """The clock of the frames, whether the pedal holds notes, and how much more onsets count."""

    sample_rate_hz: int
    hop_samples: int
    pedal_extends_notes: bool
    onset_weight: float


@dataclass(frozen=True)
class HcqtHppnetObjectiveConfig:
    """As for HPPNet; of each of three heads, how much more the cells count that are on."""

    sample_rate_hz: int
    hop_samples: int
    pedal_extends_notes: bool
    onset_weight: float
    offset_weight: float
    frame_weight: float


class HppnetObjective(Objective):
    """Cross-entropies of probabilities, and squared errors of the velocities at onsets."""

    def __init__(self, config: HppnetObjectiveConfig) -> None:
        self._config = config

    def targets(self, window: WindowLabels) -> Targets:
        """Make the rolls of ``state_rolls``."""
        config = self._config
        return state_rolls(
            window, config.sample_rate_hz, config.hop_samples, config.pedal_extends_notes
        )

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Add up the terms of all heads; trunks share no weights, so each learns from its own."""
        heads = {name: values.float() for name, values in network(features).items()}
        targets = matched(targets, heads["onset"].shape[1])
        weights = {"onset": self._config.onset_weight, "offset": 1.0, "frame": 1.0}
        terms = {
            name: _cross_entropy(heads[name], targets[name], weight)
            for name, weight in weights.items()
        }
        off = heads["velocity"] - targets["velocity"].float() / VELOCITY_SCALE
        terms["velocity"] = mean_over(off.square(), targets["onset"])
        return added_up(terms)


class HcqtHppnetObjective(Objective):
    """Cross-entropies of logits, and squared errors of the velocities while a note sounds."""

    def __init__(self, config: HcqtHppnetObjectiveConfig) -> None:
        self._config = config

    def targets(self, window: WindowLabels) -> Targets:
        """Make arrays (frames, 88): triangles one frame wide at onsets and ends, MIDI velocity."""
        config = self._config
        grid = FrameGrid.over(window.duration_s, config.sample_rate_hz, config.hop_samples)
        extends = config.pedal_extends_notes
        notes = note_frames(window.labels, grid, pedal_extends_notes=extends)
        shape, half_width = (grid.n_frames, N_KEYS), HCQT_HALF_WIDTH_FRAMES
        return {
            "onset": triangles(notes.onset, notes.key, shape, half_width),
            "offset": triangles(notes.end, notes.key, shape, half_width),
            "velocity": velocities(notes, grid.n_frames),
        }

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Add up the terms."""
        config, logits = self._config, network(features)
        targets = matched(targets, logits["onset"].shape[1])
        sounds = targets["velocity"] > 0
        wanted = {
            "onset": (targets["onset"], config.onset_weight),
            "offset": (targets["offset"], config.offset_weight),
            "frame": (sounds, config.frame_weight),
        }
        terms = {
            name: cross_entropies(logits[name], target, weight).mean()
            for name, (target, weight) in wanted.items()
        }
        velocity = targets["velocity"].float() / HCQT_VELOCITY_SCALE
        off = torch.sigmoid(logits["velocity"].float()) - velocity
        terms["velocity"] = mean_over(off.square(), sounds)
        return added_up(terms)


def _cross_entropy(probability: Tensor, target: Tensor, positive_weight: float) -> Tensor:
    """Average over all cells; heads at half the frame rate have no logits to begin with."""
    wanted = target.to(probability.dtype)
    positive = positive_weight * wanted * torch.log(probability)
    return -(positive + (1 - wanted) * torch.log1p(-probability)).mean()

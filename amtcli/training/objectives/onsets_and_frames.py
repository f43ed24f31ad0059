"""What Onsets and Frames learns: onsets, frames, offsets and velocities, cell by cell.

Hawthorne et al. (ISMIR 2018, ICLR 2019), with the unweighted losses of Jongwook Kim's program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from amtcli.networks.network import Network
from amtcli.training.objectives.losses import added_up, cross_entropies, matched, mean_over
from amtcli.training.objectives.objective import Loss, Objective, Targets, WindowLabels
from amtcli.training.objectives.state_rolls import VELOCITY_SCALE, state_rolls


@dataclass(frozen=True)
class OnsetsAndFramesObjectiveConfig:
    """The clock of the frames, and whether the sustain pedal holds notes."""

    sample_rate_hz: int
    hop_samples: int
    pedal_extends_notes: bool


class OnsetsAndFramesObjective(Objective):
    """Mean cross-entropies, and the mean squared error of the velocities at onsets."""

    def __init__(self, config: OnsetsAndFramesObjectiveConfig) -> None:
        self._config = config

    def targets(self, window: WindowLabels) -> Targets:
        """Make the rolls of ``state_rolls``."""
        config = self._config
        return state_rolls(
            window, config.sample_rate_hz, config.hop_samples, config.pedal_extends_notes
        )

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Add up the terms."""
        output = network(features)
        targets = matched(targets, output.onset.shape[1])
        terms = {
            head: cross_entropies(getattr(output, head), targets[head]).mean()
            for head in ("onset", "offset", "frame")
        }
        off = output.velocity.float() - targets["velocity"].float() / VELOCITY_SCALE
        terms["velocity"] = mean_over(off.square(), targets["onset"])
        return added_up(terms)

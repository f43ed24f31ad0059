"""What DynEst learns: beats, downbeats, dynamics at beats, and where these change.

As its authors train it (ICASSP 2026), but that a downbeat is the first beat of its bar. Times may
be missed by some frames: the loss of Beat This (Foscarin, Schlüter and Widmer, ISMIR 2024,
section 3.2). Where a data set knows no dynamics, beats and downbeats alone are learnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from amtcli.datasets.labels import BeatLabels
from amtcli.errors import DataError
from amtcli.networks.network import Network
from amtcli.training.objectives.losses import added_up, cross_entropies, matched
from amtcli.training.objectives.objective import Loss, Objective, Targets, WindowLabels
from amtcli.training.rolls import FrameGrid

_KNOWN = "knows_dynamics"


@dataclass(frozen=True)
class DynestObjectiveConfig:
    """The clock of the frames, and the weights of the losses.

    tolerance_frames: how far from its frame a beat may be told without loss.
    beat_weight, downbeat_weight, change_weight: how much more a frame counts that is one.
    """

    sample_rate_hz: int
    hop_samples: int
    tolerance_frames: int
    beat_weight: float
    downbeat_weight: float
    change_weight: float

    def __post_init__(self) -> None:
        if self.tolerance_frames < 0:
            raise ValueError(f"tolerance_frames is {self.tolerance_frames}: it cannot be below 0")


class DynestObjective(Objective):
    """Sum of four losses: cross-entropy of dynamics at beats, and of each kind of moment."""

    def __init__(self, config: DynestObjectiveConfig) -> None:
        self._config = config
        self._weights = {
            "beat": config.beat_weight,
            "downbeat": config.downbeat_weight,
            "change": config.change_weight,
        }

    def targets(self, window: WindowLabels) -> Targets:
        """Mark frames (frames,): 1 for each kind of moment; dynamics as 1 to 5, 0 elsewhere.

        ``knows_dynamics`` (1,) is 1 where all beats have dynamics. Raises DataError where the
        data set knows no beats.
        """
        beats = window.labels.beats
        if beats is None:
            raise DataError(
                "these targets are made of beats, and the data set knows none: leave it out"
            )
        config = self._config
        grid = FrameGrid.over(window.duration_s, config.sample_rate_hz, config.hop_samples)
        frames = np.rint(grid.frames(beats.time_s)).astype(np.int64)
        own = (frames >= 0) & (frames < grid.n_frames)
        frames = frames[own]
        dynamics = np.zeros(grid.n_frames, np.uint8)
        dynamics[frames] = beats.dynamics[own] + 1
        return {
            "beat": _marked(frames, grid.n_frames),
            "downbeat": _marked(frames[beats.is_downbeat[own]], grid.n_frames),
            "change": _marked(frames[beats.changes()[own]], grid.n_frames),
            "dynamics": dynamics,
            _KNOWN: np.array([_knows_dynamics(beats)], np.uint8),
        }

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Compare; dynamics in the frames of beats alone."""
        known = targets[_KNOWN].float()
        rolls = {name: target for name, target in targets.items() if name != _KNOWN}
        heads = network(features)
        rolls = matched(rolls, heads.beat.shape[1])
        terms = {"dynamics": _class_loss(heads.dynamics, rolls["dynamics"].long())}
        for name, weight in self._weights.items():
            frames = self._frame_losses(getattr(heads, name), rolls[name].float(), weight)
            terms[name] = (frames * known if name == "change" else frames).mean()
        return added_up(terms)

    def _frame_losses(self, logits: Tensor, target: Tensor, weight: float) -> Tensor:
        """Take losses of frames (batch, frames), edges left out.

        A frame says what the likeliest within the tolerance says; frames whose neighbours a
        target could still have moved to have no loss.
        """
        reach = self._config.tolerance_frames
        inner = slice(2 * reach, logits.shape[1] - 2 * reach)
        told = _highest_around(logits.float(), reach)[:, inner]
        near = _highest_around(target, 2 * reach)[:, inner]
        target = target[:, inner]
        return cross_entropies(told, target, weight) * (target + 1 - near)


def _class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy (classes 1 to 5, 0: none known), averaged over the frames that have one."""
    losses = F.cross_entropy(
        logits.float().transpose(1, 2), classes, ignore_index=0, reduction="sum"
    )
    return losses / (classes > 0).sum().clamp(min=1)


def _highest_around(values: Tensor, reach: int) -> Tensor:
    highest: Tensor = F.max_pool1d(values, 2 * reach + 1, stride=1, padding=reach)
    return highest


def _marked(frames: NDArray[np.int64], n_frames: int) -> NDArray[np.uint8]:
    roll = np.zeros(n_frames, np.uint8)
    roll[frames] = 1
    return roll


def _knows_dynamics(beats: BeatLabels) -> bool:
    return len(beats) > 0 and bool((beats.dynamics >= 0).all())

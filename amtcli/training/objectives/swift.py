"""What Swift learns: times as triangles, frames, velocities, and the pedal where it is known.

Triangles are those of Kong et al. (IEEE/ACM TASLP 2021), section III-B. How loud a recording is
says nothing of how hard its keys were struck, and windows are altered in level and colour; so
velocities are counted from the window's mean level, and an error that all its notes share may
count less than what is left of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amtcli.decoders.regression import VELOCITY_SCALE
from amtcli.networks.network import Network
from amtcli.notes import N_KEYS
from amtcli.training.objectives.losses import added_up, cross_entropies, matched, mean_over
from amtcli.training.objectives.objective import Loss, Objective, Targets, WindowLabels
from amtcli.training.rolls import (
    FrameGrid,
    NoteFrames,
    Roll,
    cells,
    fill,
    nearest,
    note_frames,
    pedal_frames,
    triangles,
)


@dataclass(frozen=True)
class SwiftObjectiveConfig:
    """The clock of the frames, the targets, and what each head's loss is multiplied by.

    half_width_s: of a triangle.
    margin_frames: at either end of a window that do not count, for want of context.
    velocity_level_weight: what the error that a window's notes share counts, beside 1 for the
        rest; 1 is the plain squared error.
    """

    sample_rate_hz: int
    hop_samples: int
    pedal_extends_notes: bool
    half_width_s: float
    margin_frames: int
    onset_weight: float
    offset_weight: float
    frame_weight: float
    velocity_weight: float
    velocity_level_weight: float
    pedal_weight: float

    def __post_init__(self) -> None:
        if self.half_width_s <= 0:
            raise ValueError("half_width_s must be above 0")
        if self.margin_frames < 0:
            raise ValueError("margin_frames cannot be negative")


class SwiftObjective(Objective):
    """Onsets, offsets, frames and velocities of keys; offsets and frames of the pedal."""

    def __init__(self, config: SwiftObjectiveConfig) -> None:
        self._config = config

    def targets(self, window: WindowLabels) -> Targets:
        """Make arrays (frames, 88), and (frames, 1) for the pedal.

        ``onset``, ``offset`` and ``pedal_offset`` are triangles, ``frame`` and ``pedal_frame``
        are 1 while something lasts, ``velocity`` is MIDI's wherever ``onset`` is above 0, and
        ``pedal_known`` says whether the data set knows the pedal.
        """
        config = self._config
        grid = FrameGrid.over(window.duration_s, config.sample_rate_hz, config.hop_samples)
        half_width = config.half_width_s * config.sample_rate_hz / config.hop_samples
        extends = config.pedal_extends_notes
        notes = note_frames(window.labels, grid, pedal_extends_notes=extends)
        shape = (grid.n_frames, N_KEYS)
        frame = np.zeros(shape, np.bool_)
        fill(frame, nearest(notes.onset), nearest(notes.end), notes.key, True)
        presses = np.zeros((0, 2))
        if window.labels.pedals is not None:
            presses = pedal_frames(window.labels, grid)
        pedal_frame = np.zeros((grid.n_frames, 1), np.bool_)
        column = np.zeros(len(presses), np.int64)
        fill(pedal_frame, nearest(presses[:, 0]), nearest(presses[:, 1]), column, True)
        return {
            "onset": triangles(notes.onset, notes.key, shape, half_width),
            "offset": triangles(notes.end, notes.key, shape, half_width),
            "frame": frame,
            "velocity": _velocities(notes, grid.n_frames, half_width),
            "pedal_offset": triangles(presses[:, 1], column, pedal_frame.shape, half_width),
            "pedal_frame": pedal_frame,
            "pedal_known": np.full_like(pedal_frame, window.labels.pedals is not None),
        }

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Add up the weighted means over cells."""
        config = self._config
        logits = network(features)
        n_frames = logits["onset"].shape[1]
        inner = slice(config.margin_frames, n_frames - config.margin_frames)
        logits = {head: values[:, inner].float() for head, values in logits.items()}
        targets = {name: values[:, inner] for name, values in matched(targets, n_frames).items()}
        level = _mean_level(logits["level"], targets["frame"])
        velocity = torch.sigmoid(logits["velocity"] - level)
        weights = {
            "onset": config.onset_weight,
            "offset": config.offset_weight,
            "frame": config.frame_weight,
            "pedal_offset": config.pedal_weight,
            "pedal_frame": config.pedal_weight,
        }
        known = targets["pedal_known"]
        terms = {
            head: weight
            * mean_over(
                cross_entropies(logits[head], targets[head]),
                known if head.startswith("pedal") else torch.ones_like(targets[head]),
            )
            for head, weight in weights.items()
        }
        error = velocity_error(
            velocity - targets["velocity"] / VELOCITY_SCALE,
            targets["onset"],
            config.velocity_level_weight,
        )
        return added_up({**terms, "velocity": config.velocity_weight * error})


def velocity_error(error: Tensor, weights: Tensor, level_weight: float) -> Tensor:
    """Average the squares of errors (batch, frames, keys) over cells by their weights.

    In each window the weighted mean error is taken apart; its square counts ``level_weight``.
    """
    of_window = weights.sum(dim=(1, 2)).clamp(min=1e-6)
    level = (error * weights).sum(dim=(1, 2)) / of_window
    rest = ((error - level[:, None, None]) ** 2 * weights).sum(dim=(1, 2))
    total = (rest + level_weight * level**2 * of_window).sum()
    return total / weights.sum().clamp(min=1)


def _mean_level(level: Tensor, frame: Tensor) -> Tensor:
    """Average levels (batch, frames, 1) over the frames in which anything sounds: (batch, 1, 1)."""
    sounds = frame.any(dim=2, keepdim=True)
    return (level * sounds).sum(dim=1, keepdim=True) / sounds.sum(dim=1, keepdim=True).clamp(min=1)


def _velocities(notes: NoteFrames, n_frames: int, half_width: float) -> Roll:
    """Hold each note's MIDI velocity as far as its triangle reaches; the nearer note counts."""
    roll, distance = np.zeros((2, n_frames, N_KEYS), np.float32)
    distance += np.inf
    first = np.ceil(notes.onset - half_width).astype(np.int64)
    stop = np.floor(notes.onset + half_width).astype(np.int64) + 1
    frame, note = cells(first, stop, n_frames)
    away = np.abs(frame - notes.onset[note]).astype(np.float32)
    key = notes.key[note]
    np.minimum.at(distance, (frame, key), away)
    nearest_one = away <= distance[frame, key]
    roll[frame[nearest_one], key[nearest_one]] = notes.velocity[note[nearest_one]]
    return roll

"""What high-resolution piano transcription learns: triangles that tell times between frames.

Kong et al., "High-Resolution Piano Transcription With Pedals by Regressing Onset and Offset
Times" (IEEE/ACM TASLP 2021), section III-B. Notes and pedals are trained apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from amtcli.networks.network import Network
from amtcli.notes import N_KEYS
from amtcli.training.objectives.losses import added_up, cross_entropies, matched, mean_over
from amtcli.training.objectives.objective import Loss, Objective, Targets, WindowLabels
from amtcli.training.rolls import (
    FrameGrid,
    fill,
    nearest,
    note_frames,
    pedal_frames,
    published_triangles,
    triangles,
    whole_notes_mask,
)

HALF_WIDTH_S = 0.05  # of a triangle
VELOCITY_SCALE = 128

_TRIANGLES = {"correct": triangles, "faithful": published_triangles}


@dataclass(frozen=True)
class HptNotesConfig:
    """The clock of the frames, and the targets.

    regression: "correct", or "faithful" to the mistake in the authors' program (see
        ``rolls.published_triangles``), to train what they trained.
    """

    sample_rate_hz: int
    hop_samples: int
    pedal_extends_notes: bool
    regression: Literal["correct", "faithful"]


@dataclass(frozen=True)
class HptPedalsConfig:
    """The clock of the frames, and the targets; ``regression`` as for the notes."""

    sample_rate_hz: int
    hop_samples: int
    regression: Literal["correct", "faithful"]


class HptNotes(Objective):
    """Onsets, offsets, frames and velocities; notes that the window cuts do not count."""

    def __init__(self, config: HptNotesConfig) -> None:
        self._config = config

    def targets(self, window: WindowLabels) -> Targets:
        """Make arrays (frames, 88).

        ``onset`` and ``offset`` are triangles, ``frame`` is 1 from onset to end, ``velocity`` is
        MIDI's in the frame of each onset and 0 elsewhere, ``whole`` masks notes that are cut.
        """
        config = self._config
        grid = FrameGrid.over(window.duration_s, config.sample_rate_hz, config.hop_samples)
        extends = config.pedal_extends_notes
        notes = note_frames(window.labels, grid, pedal_extends_notes=extends)
        shape, half_width = (grid.n_frames, N_KEYS), _half_width_frames(grid)
        raise_triangles = _TRIANGLES[config.regression]
        onset, end = nearest(notes.onset), nearest(notes.end)
        frame, velocity = np.zeros(shape, np.bool_), np.zeros(shape, np.uint8)
        fill(frame, onset, end + 1, notes.key, True)
        starts = onset >= 0
        key, loudness = notes.key[starts], notes.velocity[starts]
        fill(velocity, onset[starts], onset[starts] + 1, key, loudness)
        return {
            "onset": raise_triangles(notes.onset, notes.key, shape, half_width),
            "offset": raise_triangles(notes.end, notes.key, shape, half_width),
            "frame": frame,
            "velocity": velocity,
            "whole": whole_notes_mask(notes, grid.n_frames),
        }

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Add up the mean cross-entropies, that of the velocities over onset cells alone."""
        logits = network(features)
        targets = matched(targets, logits["onset"].shape[1])
        terms = {
            head: mean_over(cross_entropies(logits[head], targets[head]), targets["whole"])
            for head in ("onset", "offset", "frame")
        }
        velocity = targets["velocity"]
        off = cross_entropies(logits["velocity"], velocity.float() / VELOCITY_SCALE)
        terms["velocity"] = mean_over(off, velocity > 0)
        return added_up(terms)


class HptPedals(Objective):
    """Onsets, offsets and frames of the sustain pedal."""

    def __init__(self, config: HptPedalsConfig) -> None:
        self._config = config

    def targets(self, window: WindowLabels) -> Targets:
        """Make arrays (frames, 1): triangles at both ends of each press, 1 in between."""
        config = self._config
        grid = FrameGrid.over(window.duration_s, config.sample_rate_hz, config.hop_samples)
        onset, offset = pedal_frames(window.labels, grid).T
        shape, half_width = (grid.n_frames, 1), _half_width_frames(grid)
        column = np.zeros(len(onset), np.int64)
        frame = np.zeros(shape, np.bool_)
        fill(frame, nearest(onset), nearest(offset) + 1, column, True)
        raise_triangles = _TRIANGLES[config.regression]
        return {
            "pedal_onset": raise_triangles(onset, column, shape, half_width),
            "pedal_offset": raise_triangles(offset, column, shape, half_width),
            "pedal_frame": frame,
        }

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Add up the mean cross-entropies."""
        logits = network(features)
        targets = matched(targets, logits["pedal_onset"].shape[1])
        return added_up(
            {name: cross_entropies(logits[name], target).mean() for name, target in targets.items()}
        )


def _half_width_frames(grid: FrameGrid) -> float:
    return HALF_WIDTH_S * grid.sample_rate_hz / grid.hop_samples

"""The rolls that Onsets and Frames and HPPNet learn, which are made of states of keys."""

from __future__ import annotations

from amtcli.decoders.note_states import OFFSET, ONSET, SUSTAIN
from amtcli.training.objectives.objective import Targets, WindowLabels
from amtcli.training.rolls import FrameGrid, note_frames, note_states, velocities

EVENT_S = 0.032  # how long an onset or an offset lasts, in whole frames and at least one
VELOCITY_SCALE = 128


def event_frames(grid: FrameGrid) -> int:
    """Return how many frames an onset or an offset lasts."""
    return max(1, round(EVENT_S * grid.sample_rate_hz) // grid.hop_samples)


def state_rolls(
    window: WindowLabels, sample_rate_hz: int, hop_samples: int, pedal_extends_notes: bool
) -> Targets:
    """Make arrays (frames, 88): whether there is an onset, an offset, a note; its MIDI velocity."""
    grid = FrameGrid.over(window.duration_s, sample_rate_hz, hop_samples)
    notes = note_frames(window.labels, grid, pedal_extends_notes=pedal_extends_notes)
    states = note_states(notes, grid.n_frames, event_frames(grid))
    return {
        "onset": states >= ONSET,
        "offset": states == OFFSET,
        "frame": states >= SUSTAIN,
        "velocity": velocities(notes, grid.n_frames),
    }

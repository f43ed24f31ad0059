"""What networks are told of a score: rolls over frames and keys.

Shapes: B windows, T frames, K keys (88), C conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amtcli.decoders.score_velocities import ScoreNotes
from amtcli.notes import N_KEYS

Condition = Literal["onset", "frame", "exframe"]

LONGEST_HELD_S = 2.0  # keys that are held for longer all count alike


class ScoreRolls(NamedTuple):
    """Rolls (B, T, K) of the notes that sound in windows.

    onset: 1 in the frame nearest to the onset, 0 elsewhere.
    frame: 1 from that frame to the one nearest to the end of the sound, pedal included.
    held: in the frame of an onset, how long the key is held, from onset to key-up, in units of
        LONGEST_HELD_S and at most 1, however much of it lies in the window; 0 elsewhere.
    """

    onset: Tensor
    frame: Tensor
    held: Tensor

    def condition(self, name: Condition) -> Tensor:
        """One roll (B, T, K); "exframe" is ``frame`` without the onsets."""
        if name == "exframe":
            return self.frame * (1 - self.onset)
        return self.onset if name == "onset" else self.frame

    def stacked(self, names: Sequence[Condition]) -> Tensor:
        """Several rolls as channels, (B, C, T, K)."""
        return torch.stack([self.condition(name) for name in names], dim=1)

    def fitted(self, n_frames: int) -> ScoreRolls:
        """Take the first ``n_frames``, as float32."""
        return ScoreRolls(*(roll[:, :n_frames].float() for roll in self))


class Acoustic(NamedTuple):
    """What a branch hears: velocities (B, T, K) in 0-1, and their logits."""

    velocity: Tensor
    logits: Tensor


def no_score(n_windows: int, n_frames: int, device: torch.device) -> ScoreRolls:
    """Make rolls without any note."""
    return ScoreRolls(*torch.zeros(3, n_windows, n_frames, N_KEYS, device=device))


def score_rolls(notes: ScoreNotes, n_frames: int, frame_s: float) -> dict[str, NDArray[Any]]:
    """Lay the notes of one window, whose frame n is at ``n * frame_s``, on rolls (T, K).

    Returns the fields of `ScoreRolls` by name: booleans, and float32 for ``held``. Notes off the
    keyboard are left out. Of two notes that share key and onset frame the longer is held.
    """
    notes = notes.select(notes.on_keyboard)
    first = np.rint(notes.onset_s / frame_s).astype(np.int64)
    stop = np.maximum(np.rint(notes.sounding_end_s / frame_s).astype(np.int64), first) + 1
    changes = np.zeros((n_frames + 1, N_KEYS), np.int32)
    np.add.at(changes, (np.clip(first, 0, n_frames), notes.key), 1)
    np.add.at(changes, (np.clip(stop, 0, n_frames), notes.key), -1)
    begins = (first >= 0) & (first < n_frames)
    cells = (first[begins], notes.key[begins])
    onset = np.zeros((n_frames, N_KEYS), np.bool_)
    onset[cells] = True
    held = np.zeros((n_frames, N_KEYS), np.float32)
    lengths = (notes.offset_s - notes.onset_s)[begins] / LONGEST_HELD_S
    np.maximum.at(held, cells, np.clip(lengths, 0, 1).astype(np.float32))
    return {"onset": onset, "frame": changes.cumsum(axis=0)[:n_frames] > 0, "held": held}

"""What a network that hears notes is told of them: one entry for all keys struck together.

Nothing in it is absolute in time, and keys count once by pitch class and once by register, so that
music in another key, or later, looks alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amtcli.decoders.score_velocities import ScoreNotes
from amtcli.notes import LOWEST_PITCH, N_KEYS

_TOGETHER_S = 0.03  # chords are played with onsets so far apart at most, one from the next
_APART_S = (0.02, 4.0)  # distances beyond these count alike
_EDGE_S = 0.5  # what the first and the last one have for a distance
_KEYS_PER_REGISTER = 4
_N_REGISTERS = N_KEYS // _KEYS_PER_REGISTER
_N_CLASSES = 12
_N_SCALARS = 10

N_FEATURES = _N_SCALARS + _N_CLASSES + _N_REGISTERS


@dataclass(frozen=True)
class Strikes:
    """Strikes in order of time: ``onset_s`` (n,), and ``features`` (n, N_FEATURES) float32.

    Features are of the order of 1: how many keys; mean and greatest velocity; lowest and highest
    pitch; longest and mean time that keys are held, and how loud all are together, as logarithms;
    distance to the strike before and to the one after, likewise; how often each pitch class is
    struck; the greatest velocity in each register of four keys.
    """

    onset_s: NDArray[np.float64]
    features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.onset_s)


def strikes_of(notes: ScoreNotes) -> Strikes:
    """Gather notes, in any order, into strikes."""
    if not len(notes):
        return Strikes(np.empty(0), np.empty((0, N_FEATURES), np.float32))
    notes = notes.select(np.argsort(notes.onset_s, kind="stable"))
    is_first = np.concatenate([[True], np.diff(notes.onset_s) > _TOGETHER_S])
    starts, strike = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    n_keys = np.bincount(strike)
    onset_s = np.add.reduceat(notes.onset_s, starts) / n_keys
    velocity = notes.velocity / 64
    held = np.log1p(np.maximum(notes.offset_s - notes.onset_s, 0))
    energy = np.add.reduceat(velocity**2, starts)
    scalars = [
        np.minimum(n_keys, 8) / 4,
        np.add.reduceat(velocity, starts) / n_keys - 1,
        np.maximum.reduceat(velocity, starts) - 1,
        np.minimum.reduceat(notes.pitch, starts) / 40 - 1.6,
        np.maximum.reduceat(notes.pitch, starts) / 40 - 1.6,
        np.maximum.reduceat(held, starts),
        np.add.reduceat(held, starts) / n_keys,
        np.log(np.maximum(energy, 1e-4)),
        _log_distance(np.diff(onset_s, prepend=onset_s[0] - _EDGE_S)),
        _log_distance(np.diff(onset_s, append=onset_s[-1] + _EDGE_S)),
    ]
    classes = np.zeros((len(starts), _N_CLASSES))
    np.add.at(classes, (strike, notes.pitch % _N_CLASSES), 1)
    registers = np.zeros((len(starts), _N_REGISTERS))
    register = ((notes.pitch - LOWEST_PITCH) // _KEYS_PER_REGISTER).clip(0, _N_REGISTERS - 1)
    np.maximum.at(registers, (strike, register), velocity / 2)
    features = np.concatenate([np.stack(scalars, axis=1), classes, registers], axis=1)
    return Strikes(onset_s, features.astype(np.float32))


def _log_distance(distance_s: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithm: NDArray[np.float64] = np.log(distance_s.clip(*_APART_S))
    return logarithm

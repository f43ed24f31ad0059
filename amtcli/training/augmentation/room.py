"""A synthetic room: the direct sound, a few early reflections, and a decaying tail of noise.

The tail is Gaussian noise under an exponential envelope (J. A. Moorer, "About this reverberation
business", Computer Music Journal 3(2), 1979), in two bands, of which the upper dies sooner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import lfilter

from amtcli.training.augmentation.ranges import (
    Range,
    check_probability,
    check_range,
    draw_between,
    happens,
)

_DECAY_60_DB = math.log(1000.0)
_FIRST_REFLECTION_S = (0.001, 0.02)
_CROSSOVER_HZ = (800.0, 4000.0)
_HIGH_DECAY_SHARE = (0.3, 0.8)
_EARLY_END_S = 0.05
_N_EARLY = 8


@dataclass(frozen=True)
class RoomConfig:
    """``decay_s`` is the time to -60 dB, the ratio is one of energies."""

    probability: float
    decay_s: Range
    direct_to_reverberant_db: Range

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_range("decay_s", self.decay_s, 0.05, 10.0)
        check_range("direct_to_reverberant_db", self.direct_to_reverberant_db, -30.0, 60.0)


@dataclass(frozen=True)
class Room:
    """One place of an instrument and a microphone; ``seed`` makes its reflections."""

    decay_s: float
    direct_to_reverberant_db: float
    first_reflection_s: float
    crossover_hz: float
    high_decay_share: float
    seed: int

    def impulse_response(self, sample_rate_hz: int) -> NDArray[np.float32]:
        """Response of unit energy, (n,); the direct sound is sample 0, so that nothing is late."""
        response = np.zeros(max(2, math.ceil(self.decay_s * sample_rate_hz)), np.float32)
        n_direct = min(math.ceil(self.first_reflection_s * sample_rate_hz), len(response) - 1)
        tail = response[n_direct:]
        rng = np.random.default_rng(self.seed)
        tail += self._tail(len(tail), sample_rate_hz, rng)
        n_early = min(len(tail), math.ceil(_EARLY_END_S * sample_rate_hz))
        places = rng.integers(0, n_early, _N_EARLY)
        strength = float(np.max(np.abs(tail)))
        tail[places] += strength * rng.uniform(-1.0, 1.0, _N_EARLY).astype(np.float32)
        reverberant_energy = 10.0 ** (-self.direct_to_reverberant_db / 10)
        tail *= math.sqrt(reverberant_energy / float(np.dot(tail, tail)))
        response[0] = 1.0
        response /= math.sqrt(1.0 + reverberant_energy)
        return response

    def _tail(self, n_samples: int, sample_rate_hz: int, rng: Generator) -> NDArray[np.float32]:
        noise = rng.standard_normal(n_samples, dtype=np.float32)
        keep = math.exp(-2 * math.pi * self.crossover_hz / sample_rate_hz)
        low: NDArray[np.float32] = lfilter(
            np.array([1 - keep], np.float32), np.array([1, -keep], np.float32), noise
        )
        rate = _DECAY_60_DB / (self.decay_s * sample_rate_hz)
        samples = np.arange(n_samples, dtype=np.float32)
        high = (noise - low) * np.exp(samples * np.float32(-rate / self.high_decay_share))
        tail: NDArray[np.float32] = low * np.exp(samples * np.float32(-rate)) + high
        return tail


def draw_room(config: RoomConfig, rng: Generator) -> Room | None:
    """Draw a room, or none."""
    if not happens(rng, config.probability):
        return None
    return Room(
        draw_between(rng, config.decay_s),
        draw_between(rng, config.direct_to_reverberant_db),
        draw_between(rng, _FIRST_REFLECTION_S),
        draw_between(rng, _CROSSOVER_HZ),
        draw_between(rng, _HIGH_DECAY_SHARE),
        int(rng.integers(2**63)),
    )

"""A cheap recorder: a microphone that hears no treble, automatic gain, and soft clipping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import lfilter

from amtcli.training.augmentation.ranges import (
    Range,
    check_probability,
    check_range,
    decibels_to_gain,
    draw_between,
    happens,
)

_BLOCK_S = 0.01
_SMOOTHING_S = 0.15
_QUIETEST_SHARE = 1e-3


@dataclass(frozen=True)
class RecorderConfig:
    """Low-pass frequency, ratio of decibels in to decibels out, and decibels of overdrive.

    A ratio of 1 does not compress. The loudest sample is driven ``drive_db`` above where the
    curve (a hyperbolic tangent) begins to bend; from -20 down nothing is clipped to speak of.
    """

    probability: float
    low_pass_hz: Range
    compression_ratio: Range
    drive_db: Range

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_range("low_pass_hz", self.low_pass_hz, 500.0, 48_000.0)
        check_range("compression_ratio", self.compression_ratio, 1.0, 20.0)
        check_range("drive_db", self.drive_db, -60.0, 30.0)


@dataclass(frozen=True)
class Recorder:
    """One recorder."""

    low_pass_hz: float
    compression_ratio: float
    drive_db: float

    def response(self, n_fft: int, sample_rate_hz: int) -> NDArray[np.float32]:
        """Gain of a Butterworth low-pass of order 6 at each frequency of a real FFT, no phase.

        Returns (n_fft // 2 + 1,).
        """
        step = np.float32(sample_rate_hz / n_fft / self.low_pass_hz)
        squared = np.square(np.arange(n_fft // 2 + 1, dtype=np.float32) * step)
        # Whole powers by products: a general power takes as long as a Fourier transform.
        gains: NDArray[np.float32] = 1 / np.sqrt(1 + np.square(squared * squared * squared))
        return gains

    def distort(self, audio: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
        """Compress and clip ``audio`` (n,); the loudest sample of each step keeps its level."""
        peak = float(np.max(np.abs(audio), initial=0.0))
        if peak == 0.0:
            return audio
        if self.compression_ratio > 1.0:
            audio = audio * self._compression(audio, sample_rate_hz)
            audio *= np.float32(peak / float(np.max(np.abs(audio))))
        drive = decibels_to_gain(self.drive_db)
        scale = np.float32(peak / np.tanh(drive))
        clipped: NDArray[np.float32] = np.tanh(audio * np.float32(drive / peak)) * scale
        return clipped

    def _compression(self, audio: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
        n_block = max(1, round(_BLOCK_S * sample_rate_hz))
        blocks = np.pad(audio, (0, -len(audio) % n_block)).reshape(-1, n_block)
        power = np.einsum("ij,ij->i", blocks, blocks) / n_block
        keep = np.exp(-_BLOCK_S / _SMOOTHING_S)
        level, _ = lfilter([1 - keep], [1, -keep], power, zi=[keep * power[0]])
        relative = np.maximum(level / level.max(), _QUIETEST_SHARE**2)
        gains = relative ** ((1 / self.compression_ratio - 1) / 2)
        # Blocks' ends, not centres: the gain follows what was heard.
        ends = (np.arange(len(gains)) + 1) * n_block
        curve: NDArray[np.float32] = np.interp(np.arange(len(audio)), ends, gains).astype(
            np.float32
        )
        return curve


def draw_recorder(config: RecorderConfig, rng: Generator) -> Recorder | None:
    """Draw a recorder, or none."""
    if not happens(rng, config.probability):
        return None
    return Recorder(
        draw_between(rng, config.low_pass_hz),
        draw_between(rng, config.compression_ratio),
        draw_between(rng, config.drive_db),
    )

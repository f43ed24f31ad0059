"""Harmonic constant-Q spectrogram: for every key, the bins at several multiples of its pitch.

Bittner et al., "Deep Salience Representations for F0 Estimation in Polyphonic Music" (ISMIR
2017), section 3.1, as AMT_Piano computes it with librosa: each channel in decibels below its own
greatest value, mapped to 0-1. Here that value is the window's own, not that of the recording.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from amtcli.front_ends.constant_q import ConstantQ, over_sound
from amtcli.front_ends.front_end import FrontEnd

_SMALLEST_AMPLITUDE = 1e-5


@dataclass(frozen=True)
class HcqtConfig:
    """What turns samples into features; channel ``i`` starts at ``harmonics[i] * f_min_hz``."""

    sample_rate_hz: int
    hop_samples: int
    n_bins: int
    bins_per_octave: int
    f_min_hz: float
    harmonics: tuple[float, ...]
    dynamic_range_db: float

    def __post_init__(self) -> None:
        lowest_hz = max(self.harmonics, default=0) * self.f_min_hz
        if not 0 < lowest_hz < self.sample_rate_hz / 2 or min(self.harmonics) <= 0:
            raise ValueError(
                "harmonics must be positive, and the first bin of each below half of "
                f"sample_rate_hz, not {self.harmonics}"
            )


class Hcqt(FrontEnd):
    """Samples to features of shape (batch, harmonics, frames, n_bins), 0-1.

    Frame n is centred on sample ``n * hop_samples``; there are as many frames as whole hops. A
    window goes on in zeros beyond its ends. Bins that do not lie wholly below half of the
    sample rate are 0. In evaluation, digital silence at a window's ends is no part of the
    recording: it is cut off before, and its frames are NaN.
    """

    mono = True

    def __init__(self, config: HcqtConfig) -> None:
        super().__init__()
        self.sample_rate_hz = config.sample_rate_hz
        self._config = config
        self._n_used = [n_bins_below_nyquist(config, h) for h in config.harmonics]
        frequencies_hz = np.concatenate(
            [
                _frequencies_hz(config, harmonic)[:n_used]
                for harmonic, n_used in zip(config.harmonics, self._n_used, strict=True)
            ]
        )
        lengths_samples = kernel_lengths_samples(config, frequencies_hz)
        rate_hz, hop = config.sample_rate_hz, config.hop_samples
        self._constant_q = ConstantQ(frequencies_hz, lengths_samples, rate_hz, hop, "constant")

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """Turn windows, each (1, samples) and all equally long, into features."""
        if self.training:
            return torch.stack([self._features(samples) for samples in windows])
        hop = self._config.hop_samples
        return torch.stack([over_sound(samples, hop, self._features) for samples in windows])

    def _features(self, samples: Tensor) -> Tensor:
        """(1, samples) to (harmonics, frames, n_bins)."""
        channels = self._constant_q(samples).split(self._n_used, dim=2)
        return torch.cat([self._channel(channel) for channel in channels])

    def _channel(self, magnitudes: Tensor) -> Tensor:
        """(1, frames, bins) to 0-1, its greatest value being 1; missing bins are 0."""
        decibels = 20 * torch.log10(magnitudes.clamp(min=_SMALLEST_AMPLITUDE))
        below = decibels - decibels.max()
        scaled = (below / self._config.dynamic_range_db + 1).clamp(min=0)
        return F.pad(scaled, (0, self._config.n_bins - magnitudes.shape[2]))


def n_bins_below_nyquist(config: HcqtConfig, harmonic: float) -> int:
    """How many bins of a channel are computed; the one that Nyquist's frequency cuts is not."""
    octaves = math.log2(config.sample_rate_hz / 2 / (harmonic * config.f_min_hz))
    return min(config.n_bins, math.floor(config.bins_per_octave * octaves))


def kernel_lengths_samples(
    config: HcqtConfig, frequencies_hz: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Lengths as librosa has them from 0.10 on: from the distance to both neighbours."""
    ratio = 2 ** (2 / config.bins_per_octave)
    quality = (ratio + 1) / (ratio - 1)
    return quality * config.sample_rate_hz / frequencies_hz


def _frequencies_hz(config: HcqtConfig, harmonic: float) -> NDArray[np.float64]:
    steps = np.arange(config.n_bins) / config.bins_per_octave
    frequencies: NDArray[np.float64] = harmonic * config.f_min_hz * 2.0**steps
    return frequencies

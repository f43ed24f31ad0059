"""Constant-Q spectrogram of HPPNet, in decibels, alone or beside a short-time spectrum.

Wei, Li, Yu and Li, "HPPNet: Modeling the Harmonic Structure and Pitch Invariance in Piano
Transcription" (ISMIR 2022), as its program computes it: ten times the logarithm of a magnitude
(not of a power), cut off 80 below the greatest value. Here that value is the window's own, so
what a recording gives does not depend on its neighbours in a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amtcli.front_ends.constant_q import ConstantQ, over_sound
from amtcli.front_ends.front_end import FrontEnd

_SMALLEST_MAGNITUDE = 1e-10


@dataclass(frozen=True)
class CqtConfig:
    """What turns samples into features.

    Bins are ``bins_per_octave`` apart from ``f_min_hz`` on. ``stft_window_samples`` other than 0
    puts, as a first channel, the spectrum through a Hann window of that length at the
    ``n_bins`` frequencies that divide the range from ``f_min_hz`` to ``stft_f_max_hz`` evenly on
    a logarithmic scale.
    """

    sample_rate_hz: int
    hop_samples: int
    n_bins: int
    bins_per_octave: int
    f_min_hz: float
    dynamic_range_db: float
    stft_window_samples: int
    stft_f_max_hz: float


class Cqt(FrontEnd):
    """Samples to features of shape (batch, channels, frames, n_bins), in decibels.

    Frame n is centred on sample ``n * hop_samples``; there are as many frames as whole hops.
    Kernels of the lowest bins are 2.6 s long: that far, halved, the ends of a window, which are
    mirrored, reach inwards. In evaluation, digital silence at a window's ends is no part of the
    recording: it is cut off before, and its frames are NaN.
    """

    mono = True

    def __init__(self, config: CqtConfig) -> None:
        super().__init__()
        self.sample_rate_hz = config.sample_rate_hz
        self._hop_samples = config.hop_samples
        self._range_db = config.dynamic_range_db
        self._constant_q = _bank(config, *constant_q_bins(config))
        self._stft: ConstantQ | None = None
        if config.stft_window_samples:
            self._stft = _bank(config, *_stft_bins(config))
            # The bank scales by sqrt(length) a window whose sum is 1; a plain one sums to half.
            self._stft_gain = math.sqrt(config.stft_window_samples) / 2

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """Turn windows, each (1, samples) and all equally long, into features."""
        if self.training:
            return torch.stack([self._features(samples) for samples in windows])
        hop = self._hop_samples
        return torch.stack([over_sound(samples, hop, self._features) for samples in windows])

    def _features(self, samples: Tensor) -> Tensor:
        """(1, samples) to (channels, frames, n_bins)."""
        channels = [self._constant_q(samples)]
        if self._stft is not None:
            channels.insert(0, self._stft(samples) * self._stft_gain)
        return _decibels(torch.cat(channels), self._range_db)


def constant_q_bins(config: CqtConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies in Hz and kernel lengths in samples, as nnAudio has them.

    The quality factor is that of the distance to the next bin above.
    """
    steps = np.arange(config.n_bins) / config.bins_per_octave
    frequencies_hz = config.f_min_hz * 2.0**steps
    quality = 1 / (2 ** (1 / config.bins_per_octave) - 1)
    return frequencies_hz, np.ceil(quality * config.sample_rate_hz / frequencies_hz)


def _stft_bins(config: CqtConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ratio = config.stft_f_max_hz / config.f_min_hz
    frequencies_hz = config.f_min_hz * ratio ** (np.arange(config.n_bins) / config.n_bins)
    return frequencies_hz, np.full(config.n_bins, float(config.stft_window_samples))


def _bank(
    config: CqtConfig, frequencies_hz: NDArray[np.float64], lengths_samples: NDArray[np.float64]
) -> ConstantQ:
    return ConstantQ(
        frequencies_hz, lengths_samples, config.sample_rate_hz, config.hop_samples, "reflect"
    )


def _decibels(magnitudes: Tensor, range_db: float) -> Tensor:
    """(channels, frames, bins) to decibels, floored below the greatest value of each channel."""
    decibels = 10 * torch.log10(magnitudes.clamp(min=_SMALLEST_MAGNITUDE))
    floor = decibels.amax(dim=(1, 2), keepdim=True) - range_db
    return torch.maximum(decibels, floor)

"""Bands of frequency that are silent for a while, as SpecAugment's on features.

D. S. Park et al., "SpecAugment", Interspeech 2019; here on samples, so that every front-end
sees the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from amtcli.training.augmentation.ranges import (
    Range,
    check_number,
    check_probability,
    check_range,
    draw_between,
    happens,
)

_LOWEST_HZ = 40.0
_FADE_S = 0.02


@dataclass(frozen=True)
class BandMasksConfig:
    """One to ``n_masks`` masks, each so many octaves wide and seconds long."""

    probability: float
    n_masks: int
    width_octaves: Range
    duration_s: Range

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_number("n_masks", self.n_masks, 1, 16)
        check_range("width_octaves", self.width_octaves, 0.0, 12.0)
        check_range("duration_s", self.duration_s, 0.0)


@dataclass(frozen=True)
class BandMask:
    """Silence from ``low_hz`` to ``high_hz`` in samples ``start_samples`` to ``end_samples``."""

    low_hz: float
    high_hz: float
    start_samples: int
    end_samples: int

    def apply(self, audio: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
        """Take the band out of ``audio`` (n,), with a fade of 20 ms at either end."""
        end = min(self.end_samples, len(audio))
        if end - self.start_samples < 2:
            return audio
        part = audio[self.start_samples : end]
        n_fft = next_fast_len(len(part), real=True)
        spectrum = rfft(part, n_fft)
        low_bin = math.ceil(self.low_hz * n_fft / sample_rate_hz)
        high_bin = math.floor(self.high_hz * n_fft / sample_rate_hz) + 1
        spectrum[:low_bin] = 0
        spectrum[high_bin:] = 0
        band = irfft(spectrum, n_fft)[: len(part)]
        n_fade = min(len(part) // 2, math.ceil(_FADE_S * sample_rate_hz))
        fade = np.linspace(0.0, 1.0, n_fade, dtype=np.float32)
        band[:n_fade] *= fade
        band[len(band) - n_fade :] *= fade[::-1]
        masked: NDArray[np.float32] = audio.copy()
        masked[self.start_samples : end] -= band
        return masked


def draw_band_masks(
    config: BandMasksConfig, rng: Generator, n_samples: int, sample_rate_hz: int
) -> tuple[BandMask, ...]:
    """Draw the masks of a window of ``n_samples``, or none."""
    if not happens(rng, config.probability):
        return ()
    masks = []
    for _ in range(int(rng.integers(1, config.n_masks + 1))):
        n_masked = min(n_samples, round(draw_between(rng, config.duration_s) * sample_rate_hz))
        start = int(rng.integers(0, n_samples - n_masked + 1))
        width = draw_between(rng, config.width_octaves)
        n_octaves = math.log2(sample_rate_hz / 2 / _LOWEST_HZ)
        low_hz = _LOWEST_HZ * 2 ** draw_between(rng, (0.0, max(0.0, n_octaves - width)))
        masks.append(BandMask(low_hz, low_hz * 2**width, start, start + n_masked))
    return tuple(masks)

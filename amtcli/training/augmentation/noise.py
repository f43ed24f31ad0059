"""Steady coloured noise: of a room, an amplifier, a tape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len

from amtcli.training.augmentation.ranges import (
    Range,
    check_probability,
    check_range,
    decibels_to_gain,
    draw_between,
    happens,
)

_QUIET_RMS = decibels_to_gain(-45.0)
_LOWEST_HZ = 30.0


@dataclass(frozen=True)
class NoiseConfig:
    """``snr_db`` below the window's level; power falls as frequency to minus ``exponent``.

    Exponent 0 is white noise, 1 pink, 2 brown.
    """

    probability: float
    snr_db: Range
    exponent: Range

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_range("snr_db", self.snr_db, -20.0, 120.0)
        check_range("exponent", self.exponent, -2.0, 3.0)


@dataclass(frozen=True)
class Noise:
    """One noise; ``seed`` makes its samples."""

    snr_db: float
    exponent: float
    seed: int

    def apply(self, audio: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
        """Add the noise, ``snr_db`` below the mean power of ``audio`` (n,).

        Noise does not go with the music: below -45 dBFS audio counts as that loud, so that
        pauses have noise, too.
        """
        samples = self._samples(len(audio), sample_rate_hz)
        level = max(_rms(audio), _QUIET_RMS)
        noise_rms = _rms(samples) or 1.0
        samples *= np.float32(level / noise_rms * decibels_to_gain(-self.snr_db))
        samples += audio
        return samples

    def _samples(self, n_samples: int, sample_rate_hz: int) -> NDArray[np.float32]:
        n_fft = next_fast_len(n_samples, real=True)
        n_bins = n_fft // 2 + 1
        rng = np.random.default_rng(self.seed)
        spectrum = rng.standard_normal(2 * n_bins, dtype=np.float32).view(np.complex64)
        lowest_bin = max(1, round(_LOWEST_HZ * n_fft / sample_rate_hz))
        bins = np.arange(n_bins, dtype=np.float32)
        # Nothing records what lies below; an exponent of 2 would put nearly all power there.
        spectrum[:lowest_bin] = 0
        spectrum[lowest_bin:] *= bins[lowest_bin:] ** np.float32(-self.exponent / 2)
        samples: NDArray[np.float32] = irfft(spectrum, n_fft)[:n_samples]
        return samples


def draw_noise(config: NoiseConfig, rng: Generator) -> Noise | None:
    """Draw a noise, or none."""
    if not happens(rng, config.probability):
        return None
    return Noise(
        draw_between(rng, config.snr_db),
        draw_between(rng, config.exponent),
        int(rng.integers(2**63)),
    )


def _rms(audio: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.dot(audio, audio) / max(1, len(audio))))

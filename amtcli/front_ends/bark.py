"""Specific loudness: how loud each critical band of the ear is, in sone.

The chain of Pampalk's music analysis toolbox (``ma_sone``), as DynEst's authors compute it (He et
al., ICASSP 2026): Terhardt's transmission of the outer ear, Zwicker's critical bands, Schroeder's
spreading of what masks, and Bladon and Lindblom's sone. Frame ``n`` is centred on sample
``n * hop_samples`` of the audio that is passed in, exactly; beyond its edges the audio is mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amtcli.front_ends.front_end import FrontEnd
from amtcli.front_ends.windowing import hann, power_spectra

# Upper edges of the critical bands (Zwicker); each band begins where the one before ends.
_EDGES_HZ = (
    *(100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720),
    *(2000, 2320, 2700, 3150, 3700, 4400, 5300, 6400, 7700, 9500, 12000, 15500),
)
_ONE_SONE_DB = 40.0
_SOFT_EXPONENT = 2.642  # below one sone


@dataclass(frozen=True)
class BarkConfig:
    """What turns samples into features.

    ``full_scale_db`` is the level of amplitude 1, on a scale whose 0 dB is silence; powers are
    not doubled for negative frequencies, so a sine of that amplitude peaks 6 dB below it.
    """

    sample_rate_hz: int
    window_samples: int
    hop_samples: int
    full_scale_db: float

    def __post_init__(self) -> None:
        if not self.n_bands:
            raise ValueError(f"sample_rate_hz is {self.sample_rate_hz}: no critical band fits")
        per_band = torch.bincount(_bands(self), minlength=self.n_bands).tolist()
        if 0 in per_band:
            raise ValueError(
                f"window_samples is {self.window_samples}: no bin lies in the critical band up to "
                f"{_EDGES_HZ[per_band.index(0)]} Hz; make it longer"
            )

    @property
    def n_bands(self) -> int:
        """How many critical bands end at half the rate or below."""
        return sum(edge_hz <= self.sample_rate_hz / 2 for edge_hz in _EDGES_HZ)


class Bark(FrontEnd):
    """Samples to sones of shape (batch, frames, bands); L samples give L // hop + 1 frames.

    Silence is 0. The level is that of the recording: a frame depends on the ``window_samples``
    around its centre and on nothing else.
    """

    mono = True
    filters: Tensor
    hann: Tensor

    def __init__(self, config: BarkConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate_hz = config.sample_rate_hz
        self.register_buffer("filters", band_filters(config), persistent=False)
        self.register_buffer("hann", hann(config.window_samples).float(), persistent=False)

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """Turn windows, each (1, samples) and all equally long, into features.

        Samples must be more than half of ``window_samples``: there is no more to mirror.
        """
        excitation = power_spectra(windows, self.hann, self.config.hop_samples) @ self.filters
        return _sone(10 * excitation.clamp(min=1).log10())


def band_filters(config: BarkConfig) -> Tensor:
    """From powers of the spectrum to those of bands, (window_samples // 2 + 1, n_bands), float32.

    They scale, weigh as the outer ear does, sum each band and spread it over all of them.
    """
    band = _bands(config)
    scale = 10 ** (config.full_scale_db / 10) / hann(config.window_samples).sum() ** 2
    filters = torch.zeros(config.window_samples // 2 + 1, config.n_bands, dtype=torch.float64)
    gain = scale * 10 ** (_ear_db(_bins_hz(config)[: len(band)]) / 10)
    filters[: len(band)] = gain[:, None] * _spreading(config.n_bands).T[band]
    return filters.float()


def _bins_hz(config: BarkConfig) -> Tensor:
    bins = torch.arange(config.window_samples // 2 + 1, dtype=torch.float64)
    return bins * config.sample_rate_hz / config.window_samples


def _bands(config: BarkConfig) -> Tensor:
    """Return the band of every bin, but of those above the last band."""
    edges_hz = torch.tensor(_EDGES_HZ[: config.n_bands], dtype=torch.float64)
    bins_hz = _bins_hz(config)
    return torch.bucketize(bins_hz[bins_hz <= edges_hz[-1]], edges_hz)


def _ear_db(frequency_hz: Tensor) -> Tensor:
    """Transmission of the outer ear (Terhardt 1979); a constant pressure passes as it is."""
    khz = frequency_hz / 1000
    gain_db = -3.64 * khz**-0.8 + 6.5 * torch.exp(-0.6 * (khz - 3.3) ** 2) - 0.001 * khz**4
    return torch.where(khz > 0, gain_db, 0.0)


def _spreading(n_bands: int) -> Tensor:
    """Tell how much each band (row) hears of the power in each (column), Schroeder et al. 1979."""
    bands = torch.arange(n_bands, dtype=torch.float64)
    apart = bands[:, None] - bands + 0.474
    level_db = 15.81 + 7.5 * apart - 17.5 * torch.sqrt(1 + apart**2)
    return 10 ** (level_db / 10)


def _sone(level_db: Tensor) -> Tensor:
    """Loudness of levels from 0 dB on; ten decibels above the first sone double it."""
    loud = torch.exp2((level_db - _ONE_SONE_DB) / 10)
    soft = (level_db / _ONE_SONE_DB) ** _SOFT_EXPONENT
    return torch.where(level_db >= _ONE_SONE_DB, loud, soft)

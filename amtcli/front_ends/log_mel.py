"""Log-mel spectrogram in the variants that published networks were trained on.

Frame ``n`` is centred on sample ``n * hop_samples`` of the audio that is passed in, exactly;
beyond its edges the audio is mirrored. The variants differ in the mel scale and the height of
the filters, in the spectrum that they weigh, and in the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from amtcli.front_ends.front_end import FrontEnd
from amtcli.front_ends.windowing import hann, power_spectra

# Slaney's Auditory Toolbox: linear up to 1 kHz, which is mel 15, then 27 mels per factor of 6.4.
_SLANEY_HZ_PER_MEL = 200 / 3
_SLANEY_LINEAR_MELS = 15
_SLANEY_LOG_STEP = math.log(6.4) / 27


@dataclass(frozen=True)
class LogMelConfig:
    """What turns samples into features.

    ``equal_area`` scales every filter to the same area (Slaney's normalisation); otherwise all
    peak at 1. ``floor`` is the least mel value that is told from silence. ``dynamic_range_db``
    lifts what lies further than that below the loudest cell of a window; ``inf`` for none.
    """

    sample_rate_hz: int
    window_samples: int
    hop_samples: int
    n_mels: int
    f_min_hz: float
    f_max_hz: float
    mel_scale: Literal["htk", "slaney"]
    equal_area: bool
    spectrum: Literal["magnitude", "power"]
    logarithm: Literal["natural", "decibel"]
    floor: float
    dynamic_range_db: float

    def __post_init__(self) -> None:
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ValueError("f_min_hz and f_max_hz must rise and lie between 0 and half the rate")
        if self.floor <= 0:
            raise ValueError(f"floor is {self.floor}: there is no logarithm of it")
        if self.logarithm == "natural" and self.dynamic_range_db != math.inf:
            raise ValueError("dynamic_range_db must be inf where the logarithm is natural")


class LogMel(FrontEnd):
    """Samples to features of shape (batch, frames, n_mels); L samples give L // hop + 1 frames.

    With a finite ``dynamic_range_db`` a frame depends on the loudest one of its window;
    otherwise only on the ``window_samples`` around its centre.
    """

    mono = True
    filters: Tensor
    hann: Tensor

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate_hz = config.sample_rate_hz
        self.register_buffer("filters", mel_filters(config), persistent=False)
        self.register_buffer("hann", hann(config.window_samples).float(), persistent=False)

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """Turn windows, each (1, samples) and all equally long, into features.

        Samples must be more than half of ``window_samples``: there is no more to mirror.
        """
        weighed = power_spectra(windows, self.hann, self.config.hop_samples)
        if self.config.spectrum == "magnitude":
            weighed = weighed.sqrt()
        return self._logarithm(weighed @ self.filters)

    def _logarithm(self, mel: Tensor) -> Tensor:
        above_floor = mel.clamp(min=self.config.floor)
        if self.config.logarithm == "natural":
            return above_floor.log()
        level_db = 10 * above_floor.log10()
        loudest_db = level_db.amax(dim=(1, 2), keepdim=True)
        return torch.maximum(level_db, loudest_db - self.config.dynamic_range_db)


def mel_filters(config: LogMelConfig) -> Tensor:
    """Triangular filters, (window_samples // 2 + 1 bins, n_mels), float32."""
    n_bins = config.window_samples // 2 + 1
    bins_hz = torch.linspace(0, config.sample_rate_hz / 2, n_bins, dtype=torch.float64)
    to_mel, to_hz = _SCALES[config.mel_scale]
    ends = torch.tensor([config.f_min_hz, config.f_max_hz], dtype=torch.float64)
    low, high = to_mel(ends).tolist()
    edges_hz = to_hz(torch.linspace(low, high, config.n_mels + 2, dtype=torch.float64))
    width_hz = edges_hz.diff()
    distance_hz = edges_hz[None, :] - bins_hz[:, None]
    rising = -distance_hz[:, :-2] / width_hz[:-1]
    falling = distance_hz[:, 2:] / width_hz[1:]
    filters = torch.minimum(rising, falling).clamp(min=0)
    if config.equal_area:
        filters = filters * 2 / (edges_hz[2:] - edges_hz[:-2])
    return filters.float()


def _htk_mel(frequency_hz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + frequency_hz / 700)


def _htk_hz(mel: Tensor) -> Tensor:
    return 700 * (10 ** (mel / 2595) - 1)


def _slaney_mel(frequency_hz: Tensor) -> Tensor:
    linear = frequency_hz / _SLANEY_HZ_PER_MEL
    above = (linear / _SLANEY_LINEAR_MELS).clamp(min=1).log() / _SLANEY_LOG_STEP
    return linear.clamp(max=_SLANEY_LINEAR_MELS) + above


def _slaney_hz(mel: Tensor) -> Tensor:
    linear = mel.clamp(max=_SLANEY_LINEAR_MELS) * _SLANEY_HZ_PER_MEL
    return linear * ((mel - _SLANEY_LINEAR_MELS).clamp(min=0) * _SLANEY_LOG_STEP).exp()


_SCALES = {"htk": (_htk_mel, _htk_hz), "slaney": (_slaney_mel, _slaney_hz)}

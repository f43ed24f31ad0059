"""Power spectra through several analysis windows, on a scale of pitches, in decibels.

A long window tells pitches apart, a short one says when; both are mapped to the same bins, whole
fractions of a semitone, so that a harmonic is the same number of bins above every fundamental.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from amtcli.front_ends.front_end import FrontEnd
from amtcli.front_ends.windowing import hann

_BINS_AT_ONCE = 27  # bins whose filters are applied in one product, over their own spectrum only
_FRAMES_AT_ONCE = 256  # so that spectra stay in the processor's cache


@dataclass(frozen=True)
class LogFrequencyConfig:
    """What turns samples into features.

    window_samples: lengths of the analysis windows (Hann), one channel each.
    bins_per_semitone: odd, so that the middle one of a semitone lies on its pitch.
    lowest_pitch, n_semitones: a MIDI number, and how many semitones there are from it on.
    floor_db: added as power to every bin, against a full-scale sinusoid; it becomes 0.
    lookahead_samples: no window reaches further beyond its frame; longer ones reach further back.
    """

    sample_rate_hz: int
    hop_samples: int
    window_samples: tuple[int, ...]
    bins_per_semitone: int
    lowest_pitch: int
    n_semitones: int
    floor_db: float
    lookahead_samples: int

    def __post_init__(self) -> None:
        if not self.window_samples:
            raise ValueError("window_samples must hold at least one length")
        if self.bins_per_semitone % 2 == 0:
            raise ValueError(f"bins_per_semitone is {self.bins_per_semitone}: it must be odd")
        if self.lookahead_samples < 0:
            raise ValueError("lookahead_samples cannot be negative")
        highest_hz = float(bin_frequencies_hz(self)[-1])
        if highest_hz >= self.sample_rate_hz / 2:
            raise ValueError(f"the highest bin ({highest_hz:.0f} Hz) must lie below half the rate")

    @property
    def n_bins(self) -> int:
        """How many bins there are in each channel."""
        return self.n_semitones * self.bins_per_semitone

    def ahead_samples(self, window_samples: int) -> int:
        """How far beyond the sample of its frame a window reaches."""
        return min(window_samples // 2, self.lookahead_samples)


class LogFrequency(FrontEnd):
    """Samples to features of shape (batch, frames, bins, windows); L samples give L // hop frames.

    Frame n is that of sample ``n * hop_samples`` of the audio that is passed in; beyond its edges
    there are zeros. 1.0 is 20 dB, 0.0 the floor. The level is that of the recording: a frame
    depends on the samples of its own windows and on nothing else.
    """

    mono = True

    def __init__(self, config: LogFrequencyConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate_hz = config.sample_rate_hz
        self._groups: list[list[tuple[int, int]]] = []  # per window and group: spectrum's slice
        for index, length in enumerate(config.window_samples):
            self.register_buffer(f"window_{index}", scaled_hann(length), persistent=False)
            self._groups.append(self._add_filters(index, pitch_filters(config, length)))

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """Turn windows, each (1, samples) and all equally long, into features."""
        samples = torch.cat(list(windows))
        n_frames = samples.shape[-1] // self.config.hop_samples
        channels = [self._power(samples, index, n_frames) for index in range(len(self._groups))]
        floor = 10 ** (self.config.floor_db / 10)
        power = torch.stack(channels, dim=-1)
        return (power.add_(floor).log10_() - math.log10(floor)).div_(2)

    def _add_filters(self, index: int, filters: Tensor) -> list[tuple[int, int]]:
        """Store filters (spectrum, bins) in groups, each without the rows that are zero in it."""
        slices = []
        for group, part in enumerate(filters.split(_BINS_AT_ONCE, dim=1)):
            used = part.any(dim=1).nonzero().flatten()
            first, last = int(used[0]), int(used[-1]) + 1
            own = part[first:last].contiguous()
            self.register_buffer(f"filters_{index}_{group}", own, persistent=False)
            slices.append((first, last))
        return slices

    def _power(self, samples: Tensor, index: int, n_frames: int) -> Tensor:
        """(batch, samples) to the powers of one channel, (batch, frames, bins)."""
        config, window = self.config, self.get_buffer(f"window_{index}")
        ahead = config.ahead_samples(len(window))
        padded = F.pad(samples, (len(window) - ahead, ahead))
        frames = padded.unfold(-1, len(window), config.hop_samples)[:, :n_frames]
        parts = [self._filter(part * window, index) for part in frames.split(_FRAMES_AT_ONCE, 1)]
        return torch.cat(parts, dim=1)

    def _filter(self, frames: Tensor, index: int) -> Tensor:
        parts = torch.view_as_real(torch.fft.rfft(frames))
        squared = parts * parts
        power = squared[..., 0] + squared[..., 1]  # a sum over the last axis takes 7 times longer
        bins = [
            power[..., first:last] @ self.get_buffer(f"filters_{index}_{group}")
            for group, (first, last) in enumerate(self._groups[index])
        ]
        return torch.cat(bins, dim=-1)


def scaled_hann(length: int) -> Tensor:
    """Return a periodic Hann window (length,), by which a full-scale sinusoid has power 1."""
    window = hann(length)
    return (window * 2 / window.sum()).float()


def bin_frequencies_hz(config: LogFrequencyConfig) -> Tensor:
    """Centres of the bins, (n_bins,), float64; the tuning is A4 = 440 Hz."""
    position = torch.arange(config.n_bins, dtype=torch.float64) - config.bins_per_semitone // 2
    pitch = config.lowest_pitch + position / config.bins_per_semitone
    return 440 * 2 ** ((pitch - 69) / 12)


def pitch_filters(config: LogFrequencyConfig, window_samples: int) -> Tensor:
    """Triangular filters, (window_samples // 2 + 1, n_bins), float32, 1 at their centres.

    Each falls to 0 at the centres of its neighbours, but is never narrower than the distance of
    two points of the spectrum, between which it then interpolates.
    """
    centers_hz = bin_frequencies_hz(config)
    spacing_hz = config.sample_rate_hz / window_samples
    points_hz = torch.arange(window_samples // 2 + 1, dtype=torch.float64) * spacing_hz
    ratio = 2 ** (1 / (12 * config.bins_per_semitone))
    distance_hz = points_hz[:, None] - centers_hz
    below_hz = (centers_hz * (1 - 1 / ratio)).clamp(min=spacing_hz)
    above_hz = (centers_hz * (ratio - 1)).clamp(min=spacing_hz)
    falling = torch.where(distance_hz < 0, distance_hz / below_hz, distance_hz / above_hz)
    return (1 - falling.abs()).clamp(min=0).float()

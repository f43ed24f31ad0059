"""Log-mel spectrogram taken through several windows at once, one fixed and some learned.

Yan and Duan, "Scoring Time Intervals Using Non-Hierarchical Transformer for Automatic Piano
Transcription" (ISMIR 2024). Frame ``n`` is centred on sample ``n * hop_samples`` of the audio
that is passed in; beyond its edges there are zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amtcli.front_ends.front_end import FrontEnd
from amtcli.front_ends.windowing import hann


@dataclass(frozen=True)
class MultiWindowLogMelConfig:
    """What turns samples into features; ``n_learned_windows`` Gaussians join one Hann window."""

    sample_rate_hz: int
    window_samples: int
    hop_samples: int
    n_mels: int
    f_min_hz: float
    f_max_hz: float
    n_learned_windows: int
    epsilon: float


class MultiWindowLogMel(FrontEnd):
    """Samples to features of shape (batch, frames, n_mels, 1 + n_learned_windows).

    Each item of a batch is normalised to zero mean and unit deviation over its frames, and the
    power spectra of its channels are averaged, so recordings may be mono or not.
    """

    mono = False  # channels are wanted apart: powers are averaged, not waveforms
    band: Tensor
    hann: Tensor

    def __init__(self, config: MultiWindowLogMelConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate_hz = config.sample_rate_hz
        places = torch.arange(1, config.n_learned_windows + 1) / (config.n_learned_windows + 1)
        self.centers = nn.Parameter(torch.logit(places))
        self.widths = nn.Parameter(-torch.ones(config.n_learned_windows))
        mel = mel_filters(config)
        used = mel.any(dim=1).nonzero().flatten()
        # Bins without weight in any filter (9 in 14 of them) are not worth computing powers for.
        self.first_bin, self.last_bin = int(used[0]), int(used[-1]) + 1
        self.register_buffer("band", mel[self.first_bin : self.last_bin], persistent=False)
        self.register_buffer("hann", hann(config.window_samples).float(), persistent=False)

    def analysis_windows(self) -> Tensor:
        """Return the Hann window and the learned Gaussians, (windows, window_samples)."""
        n = self.config.window_samples
        position = torch.arange(n, device=self.hann.device)
        center, width = torch.sigmoid(self.centers)[:, None], torch.sigmoid(self.widths)[:, None]
        gaussians = torch.exp(-0.5 * ((position - n * center) / (width * n / 2)) ** 2)
        return torch.cat([self.hann[None], gaussians])

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """Turn windows, each (channels, samples) and all equally long, into features."""
        analysis = self.analysis_windows() / math.sqrt(self.config.window_samples)
        return torch.stack([self._features(samples, analysis) for samples in windows])

    def _features(self, samples: Tensor, analysis: Tensor) -> Tensor:
        frames = self._normalised_frames(_distinct_channels(samples))
        mels = [self._mel(frames * window) for window in analysis]
        floor = math.log(self.config.epsilon)
        power = torch.stack(mels, dim=-1)
        return (torch.log(power + self.config.epsilon) - floor) / -floor

    def _normalised_frames(self, samples: Tensor) -> Tensor:
        """(channels, samples) to (channels, frames, window_samples), zero mean, unit deviation."""
        size, hop = self.config.window_samples, self.config.hop_samples
        n_frames = -(-samples.shape[-1] // hop) + 1
        right = (n_frames - 1) * hop + size // 2 - samples.shape[-1]
        frames = nn.functional.pad(samples, (size // 2, right)).unfold(-1, size, hop)
        return (frames - frames.mean()) / (frames.std() + 1e-8)

    def _mel(self, frames: Tensor) -> Tensor:
        """Windowed frames (channels, frames, samples) to mel powers (frames, n_mels)."""
        spectrum = torch.fft.rfft(frames)[..., self.first_bin : self.last_bin]
        power = torch.view_as_real(spectrum).square().sum(dim=-1).mean(dim=0)
        return power @ self.band


def _distinct_channels(samples: Tensor) -> Tensor:
    """Drop channels that repeat the first: the mean of equal powers is one of them."""
    if samples.shape[0] > 1 and all(torch.equal(samples[0], other) for other in samples[1:]):
        return samples[:1]
    return samples


def mel_filters(config: MultiWindowLogMelConfig) -> Tensor:
    """Triangular filters on the HTK mel scale, (bins, n_mels), peak 1, not normalised by area."""
    n_bins = config.window_samples // 2 + 1
    bins_hz = torch.linspace(0, config.sample_rate_hz // 2, n_bins)
    low, high = (2595 * math.log10(1 + f / 700) for f in (config.f_min_hz, config.f_max_hz))
    edges_hz = 700 * (10 ** (torch.linspace(low, high, config.n_mels + 2) / 2595) - 1)
    width_hz = edges_hz.diff()
    distance_hz = edges_hz[None, :] - bins_hz[:, None]
    rising = -distance_hz[:, :-2] / width_hz[:-1]
    falling = distance_hz[:, 2:] / width_hz[1:]
    return torch.clamp(torch.minimum(rising, falling), min=0)

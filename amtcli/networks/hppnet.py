"""HPPNet: convolutions that follow a note's overtones, one recurrent layer per key.

Wei, Li, Yu and Li, "HPPNet: Modeling the Harmonic Structure and Pitch Invariance in Piano
Transcription" (ISMIR 2022), as its program builds it where the paper differs. Shapes: B windows,
T frames, C channels of width; features have 48 bins per octave, four per key.

The answer depends on the whole window (instance normalisation over it, recurrence in both
directions), so window length is part of the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.decoders.frames import FrameActivations
from amtcli.networks.network import Network

BINS_PER_OCTAVE = 48
BINS_PER_KEY = 4
HEADS = ("onset", "frame", "offset", "velocity")

_FRAMES_AT_ONCE = 32
_STEM_CHANNELS = 16
_HARMONICS = range(2, 10)
_CERTAINTY = 1 - 1e-7  # probabilities stay so far from 0 and 1 that their logarithms are finite


@dataclass(frozen=True)
class HppnetConfig:
    """Sizes of the network.

    With ``own_onset_trunk`` (the paper's HPPNet-sp) onsets have a trunk of their own and the
    other heads share a second one, at half the frame rate.
    """

    n_input_channels: int
    width: int
    own_onset_trunk: bool


SIZES = {
    "base": HppnetConfig(1, 128, False),
    "sp": HppnetConfig(1, 128, True),
    "tiny": HppnetConfig(1, 64, False),
    "ultra-tiny": HppnetConfig(1, 48, False),
    "published-tiny": HppnetConfig(2, 48, False),
}
"""The sizes that its authors name; the last is the one whose weights they published."""


class Trunk(nn.Module):
    """Features (B, channels, T, 352) to one vector per frame and key, (B, C, T, 88)."""

    def __init__(self, n_input_channels: int, width: int) -> None:
        super().__init__()
        stem = [n_input_channels] + 3 * [_STEM_CHANNELS]
        self.stem = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 7, padding=3) for n_in, n_out in pairwise(stem)
        )
        self.harmonics = nn.ModuleList(
            _along_bins(_STEM_CHANNELS, width, round(BINS_PER_OCTAVE * math.log2(harmonic)))
            for harmonic in _HARMONICS
        )
        self.octaves = _along_bins(width, width, BINS_PER_OCTAVE)
        self.key_octaves = _along_bins(width, width, BINS_PER_OCTAVE // BINS_PER_KEY)
        self.times = nn.ModuleList(
            nn.Conv2d(width, width, (5, 1), padding=(2, 0)) for _ in range(3)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Run the convolutions."""
        x = features
        for convolve in self.stem:
            x = F.instance_norm(F.relu(convolve(x)))
        # What happens to each frame alone is done to a few at once, which fit into a cache.
        n_at_once = _FRAMES_AT_ONCE if x.device.type == "cpu" else x.shape[2]
        x = torch.cat([self._to_keys(frames) for frames in x.split(n_at_once, dim=2)], dim=2)
        x = F.instance_norm(x)
        for convolve in (self.key_octaves, *self.times):
            x = F.instance_norm(F.relu(convolve(x)))
        return x

    def _to_keys(self, x: Tensor) -> Tensor:
        """Gather overtones and octaves: (B, 16, T, 352) to (B, C, T, 88)."""
        x = F.relu(gather_harmonics(self.harmonics, x))
        return F.max_pool2d(F.relu(self.octaves(x)), (1, BINS_PER_KEY))


class KeyLstm(nn.Module):
    """A recurrent layer over time that is the same for every key: (B, C, T, keys) to logits."""

    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_in, n_hidden, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * n_hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run along time; returns (B, T, keys)."""
        n_batch, n_channels, n_frames, n_keys = x.shape
        rows = x.permute(0, 3, 2, 1).reshape(n_batch * n_keys, n_frames, n_channels)
        logits: Tensor = self.output(self.lstm(rows)[0])
        return logits.reshape(n_batch, n_keys, n_frames).transpose(1, 2)


class SubNetwork(nn.Module):
    """A trunk and its heads: features to probabilities (B, T, 88) by name."""

    def __init__(self, config: HppnetConfig, heads: Sequence[str], *, half_rate: bool) -> None:
        super().__init__()
        self._half_rate = half_rate
        self.trunk = Trunk(config.n_input_channels, config.width)
        self.heads = nn.ModuleDict(
            {name: KeyLstm(config.width, config.width // 2) for name in heads}
        )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Run trunk and heads; at half rate, frames are paired before and interpolated after."""
        n_frames = features.shape[2]
        x = features
        if self._half_rate:
            x = F.max_pool2d(F.pad(x, (0, 0, 0, n_frames % 2), mode="replicate"), (2, 1))
        shared = self.trunk(x)
        probabilities = {}
        for name, head in self.heads.items():
            values = torch.sigmoid(head(shared).float())
            if self._half_rate:
                values = F.interpolate(
                    values.transpose(1, 2), scale_factor=2, mode="linear", align_corners=False
                ).transpose(1, 2)[:, :n_frames]
            probabilities[name] = values.clamp(1 - _CERTAINTY, _CERTAINTY)
        return probabilities


class Hppnet(Network):
    """Features (B, channels, T, 352), in decibels, to probabilities per frame and key."""

    def __init__(self, config: HppnetConfig) -> None:
        super().__init__()
        if config.own_onset_trunk:
            parts = {
                "onset": SubNetwork(config, HEADS[:1], half_rate=False),
                "rest": SubNetwork(config, HEADS[1:], half_rate=True),
            }
        else:
            parts = {"all": SubNetwork(config, HEADS, half_rate=False)}
        self.parts = nn.ModuleDict(parts)
        self._autocast = False

    def prepare(self, precision: str) -> None:
        """Let convolutions and recurrence run in bf16, if that is asked for."""
        self._autocast = precision == "bf16"

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Compute the probabilities (B, T, 88) of all heads.

        They are no logits, because heads at half rate are interpolated after their sigmoid.
        """
        probabilities: dict[str, Tensor] = {}
        for part in self.parts.values():
            probabilities.update(part(features))
        return probabilities

    def activations(self, features: Tensor) -> list[FrameActivations]:
        """Compute what the decoder is fed, one item per window."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self._autocast):
            return over_recording(features, self)


def over_recording(
    features: Tensor, compute: Callable[[Tensor], dict[str, Tensor]]
) -> list[FrameActivations]:
    """Compute the probabilities of each window from those of its frames that are not NaN.

    Silence around a recording would shift the statistics that these networks normalise by, so
    it is left out; nothing sounds in it.
    """
    is_frame = ~features[:, 0, :, 0].isnan()
    if is_frame.all():
        heads = compute(features)
        in_memory = [heads[name].float().cpu().numpy() for name in HEADS]
        return [FrameActivations(*window) for window in zip(*in_memory, strict=True)]
    if len(features) > 1:
        return [over_recording(window, compute)[0] for window in features.split(1)]
    first, last = (int(is_frame[0].nonzero()[i]) for i in (0, -1))
    heads = compute(features[:, :, first : last + 1])
    around = (0, 0, first, features.shape[2] - 1 - last)
    in_memory = [F.pad(heads[name][0].float(), around).cpu().numpy() for name in HEADS]
    return [FrameActivations(*in_memory)]


def gather_harmonics(convolutions: nn.ModuleList, x: Tensor) -> Tensor:
    """Add up what convolutions along bins, of three taps each, make of the same input.

    One product over the inputs at all distances: the middle taps fall together, and dilated
    convolutions are slow.
    """
    taps: dict[int, Tensor] = {}
    dilated = [cast(nn.Conv2d, convolve) for convolve in convolutions]
    for convolve in dilated:
        distance = convolve.dilation[1]
        for tap, shift in enumerate((-distance, 0, distance)):
            weight = convolve.weight[..., tap]
            taps[shift] = taps[shift] + weight if shift in taps else weight
    bias = torch.stack([cast(Tensor, convolve.bias) for convolve in dilated]).sum(dim=0)
    reach, n_bins = max(taps), x.shape[-1]
    padded = F.pad(x, (reach, reach))
    shifted = [padded[..., reach + shift : reach + shift + n_bins] for shift in taps]
    weight = torch.cat(list(taps.values()), dim=1)[..., None]
    return F.conv2d(torch.cat(shifted, dim=1), weight, bias)


def _along_bins(n_in: int, n_out: int, dilation: int) -> nn.Conv2d:
    """Join every bin with those ``dilation`` bins below and above it."""
    return nn.Conv2d(n_in, n_out, (1, 3), padding=(0, dilation), dilation=(1, dilation))

"""Onsets and Velocities: a convolutional network that refines its onsets stage by stage.

Andres Fernandez, "Onsets and Velocities: Affordable Real-Time Piano Transcription Using
Convolutional Neural Networks", EUSIPCO 2023.

The gates of its context-aware modules average over the whole window, so every answer depends
on all of it, and window length is part of the model. Shapes: B windows, C channels, T frames,
K keys (88); time is the last axis inside the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.decoders.onset_peaks import OnsetActivations
from amtcli.networks.network import Network
from amtcli.notes import N_KEYS

BRANCH_CHANNELS = 4
GATE_WIDTH = 8
LEAK = 0.1  # slope of negative values, outside the context-aware modules
DROPOUT = 0.15
NORM_MOMENTUM = 0.95  # as its authors train: statistics are little more than the last batch's

_STEM_KERNEL, _STEM_DILATIONS = (3, 5), (1, 2, 3, 4)
_STAGE_KERNEL, _STAGE_DILATIONS = (1, 11), (1, 2, 3)


@dataclass(frozen=True)
class OnsetsVelocitiesConfig:
    """Sizes of the network; modules are the context-aware ones."""

    n_mels: int
    n_stem_modules: int
    n_onset_stages: int
    n_onset_modules: int
    n_velocity_modules: int
    head_width: int


class ContextAwareModule(nn.Module):
    """Convolutions dilated in time, gated channel by channel, beside a way around them."""

    def __init__(self, n_in: int, kernel: tuple[int, int], dilations: tuple[int, ...]) -> None:
        super().__init__()
        n_out = BRANCH_CHANNELS * len(dilations)
        self.squeeze = nn.Linear(n_in, GATE_WIDTH)
        self.excite = nn.Linear(GATE_WIDTH, n_out)
        self.branches = nn.ModuleList(
            _unit(
                nn.Conv2d(
                    n_in,
                    BRANCH_CHANNELS,
                    kernel,
                    dilation=(1, dilation),
                    padding=(kernel[0] // 2, kernel[1] // 2 * dilation),
                    bias=False,
                ),
                BRANCH_CHANNELS,
                leak=0.0,
            )
            for dilation in dilations
        )
        self.around = _unit(nn.Conv2d(n_in, n_out, 1, bias=False), n_out, leak=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, F, T) to (B, n_out, F, T)."""
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(dim=(2, 3))))))
        dilated = torch.cat([branch(x) for branch in self.branches], dim=1)
        result: Tensor = self.around(x) + dilated * gate[:, :, None, None]
        return result


class KeyProjection(nn.Module):
    """For each channel, one linear map from mels to keys."""

    def __init__(self, n_channels: int, n_mels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_channels, N_KEYS, n_mels))
        nn.init.normal_(self.weight, std=math.sqrt(2 / n_mels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, mels, T) to (B, C, K, T)."""
        return self.weight @ x


class Stem(nn.Module):
    """Log-mels and their change in time (B, 2, mels, T) to channels of keys (B, C, K, T)."""

    def __init__(self, config: OnsetsVelocitiesConfig) -> None:
        super().__init__()
        self.n_channels = n_channels = BRANCH_CHANNELS * len(_STEM_DILATIONS)
        self.norm = nn.BatchNorm1d(2 * config.n_mels, momentum=NORM_MOMENTUM)
        self.input = _unit(nn.Conv2d(2, n_channels, 3, padding=1, bias=False), n_channels)
        self.blocks = nn.Sequential(
            *(
                _unit(ContextAwareModule(n_channels, _STEM_KERNEL, _STEM_DILATIONS), n_channels)
                for _ in range(config.n_stem_modules)
            )
        )
        self.keys = _unit(KeyProjection(n_channels, config.n_mels), n_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every mel of either input by itself, then compute."""
        x = self.norm(x.flatten(1, 2)).unflatten(1, (2, -1))
        keys: Tensor = self.keys(self.blocks(self.input(x)))
        return keys


class Stage(nn.Module):
    """Channels of keys (B, n_in, K, T) to one logit per key (B, K, T)."""

    def __init__(self, n_in: int, n_modules: int, head_width: int) -> None:
        super().__init__()
        n_channels = BRANCH_CHANNELS * len(_STAGE_DILATIONS)
        self.input = _unit(nn.Conv2d(n_in, n_channels, 1, bias=False), n_channels)
        self.blocks = nn.Sequential(
            *(
                _unit(ContextAwareModule(n_channels, _STAGE_KERNEL, _STAGE_DILATIONS), n_channels)
                for _ in range(n_modules)
            )
        )
        n_flat = n_channels * N_KEYS
        self.collapse = _column_unit(nn.Conv1d(n_flat, head_width, 3, padding=1, bias=False))
        self.hidden = _column_unit(nn.Conv1d(head_width, head_width, 1, bias=False))
        self.output = nn.Conv1d(head_width, N_KEYS, 1)
        self.norm = nn.BatchNorm1d(N_KEYS, momentum=NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Look at all keys at once from the collapse on."""
        x = self.blocks(self.input(x))
        x = self.hidden(self.collapse(x.flatten(1, 2)))
        logits: Tensor = self.norm(self.output(F.dropout(x, DROPOUT, self.training)))
        return logits


class OnsetsVelocities(Network):
    """Log-mels (B, T, mels) to what ``OnsetPeaksDecoder`` reads."""

    def __init__(self, config: OnsetsVelocitiesConfig) -> None:
        super().__init__()
        self.stem = Stem(config)
        n_channels, width = self.stem.n_channels, config.head_width
        self.onset_stages = nn.ModuleList(
            Stage(n_channels, config.n_onset_modules, width) for _ in range(config.n_onset_stages)
        )
        self.velocity_stage = Stage(n_channels + 1, config.n_velocity_modules, width)
        self.apply(_initialise)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Nothing but float32 (see `prepare`)."""
        return ("float32",)

    def prepare(self, precision: str) -> None:
        """Lay filters out channels last, which is a little faster.

        All stays in float32, as stages add up logits of any size.
        """
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Compute logits of every frame but the first, which has no frame before it.

        ``onset`` is (stages, B, T - 1, K), each stage the sum of those up to it, the last one
        the answer; ``velocity`` is (B, T - 1, K).
        """
        mels = features.transpose(1, 2)
        keys = self.stem(torch.stack([mels[:, :, 1:], mels.diff(dim=-1)], dim=1))
        stages = torch.stack([stage(keys) for stage in self.onset_stages]).cumsum(dim=0)
        velocity = self.velocity_stage(torch.cat([keys, stages[-1][:, None]], dim=1))
        return {"onset": stages.transpose(2, 3), "velocity": velocity.transpose(1, 2)}

    def activations(self, features: Tensor) -> list[OnsetActivations]:
        """Compute probabilities and velocities, both in 0-1; the first frame has zeros."""
        logits = self(features)
        onset, velocity = (
            F.pad(torch.sigmoid(head), (0, 0, 1, 0)).cpu().numpy()
            for head in (logits["onset"][-1], logits["velocity"])
        )
        return [OnsetActivations(*heads) for heads in zip(onset, velocity, strict=True)]


def _unit(layer: nn.Module, n_channels: int, leak: float = LEAK) -> nn.Sequential:
    """Put a normalisation and a rectifier behind a layer."""
    norm = nn.BatchNorm2d(n_channels, momentum=NORM_MOMENTUM)
    return nn.Sequential(layer, norm, nn.LeakyReLU(leak))


def _column_unit(layer: nn.Conv1d) -> nn.Sequential:
    norm = nn.BatchNorm1d(layer.out_channels, momentum=NORM_MOMENTUM)
    return nn.Sequential(layer, norm, nn.LeakyReLU(LEAK))


def _initialise(module: nn.Module) -> None:
    """Start as the authors do; gates start open, by biases of 1. Parents come after children."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, ContextAwareModule):
        nn.init.ones_(module.squeeze.bias)
        nn.init.ones_(module.excite.bias)

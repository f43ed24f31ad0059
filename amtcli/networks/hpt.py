"""High-resolution piano transcription: regressed onsets and offsets, frames, velocities, pedals.

Kong, Li, Song, Wan and Wang, "High-Resolution Piano Transcription With Pedals by Regressing
Onset and Offset Times", IEEE/ACM TASLP 2021. Notes and pedals are two networks, trained apart,
which share nothing but their input; a model has one of them or both.

Recurrent layers run both ways through the window, so every answer depends on all of it; the
middle of a window hardly does. Shapes: B windows, T frames, K keys (88).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.decoders.regression import RegressionActivations
from amtcli.networks.network import Network
from amtcli.notes import N_KEYS

CONV_DROPOUT = 0.2
DENSE_DROPOUT = 0.5
DENSE_NORM_MOMENTUM = 0.01
N_RECURRENT_LAYERS = 2

_NOTE_HEADS = ("onset", "offset", "frame", "velocity")
_PEDAL_HEADS = ("pedal_onset", "pedal_offset", "pedal_frame")


@dataclass(frozen=True)
class HptConfig:
    """Which parts there are, and their sizes.

    ``norm_epsilon`` is that of the batch normalisation before and within the convolutions; the
    published weights were trained with 0.01.
    """

    notes: bool
    pedals: bool
    n_mels: int
    conv_channels: tuple[int, ...]
    dense_width: int
    recurrent_width: int
    norm_epsilon: float

    def __post_init__(self) -> None:
        if not (self.notes or self.pedals):
            raise ValueError("notes or pedals must be true")
        if self.n_mels >> len(self.conv_channels) < 1:
            raise ValueError("n_mels must last for one halving per entry of conv_channels")


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions, each normalised and rectified; then mels are averaged in pairs."""

    def __init__(self, n_in: int, n_out: int, epsilon: float) -> None:
        super().__init__()
        self.dropout = CONV_DROPOUT
        widths = (n_in, n_out)
        convolutions = [nn.Conv2d(width, n_out, 3, padding=1, bias=False) for width in widths]
        for convolution in convolutions:
            nn.init.xavier_uniform_(convolution.weight)
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n_out, eps=epsilon) for _ in widths)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, T, mels) to (B, n_out, T, mels // 2)."""
        for convolve, normalise in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(normalise(convolve(x)))
        return F.dropout(F.avg_pool2d(x, (1, 2)), self.dropout, self.training)


class AcousticModel(nn.Module):
    """Convolutions, one dense layer and recurrent layers: normalised log-mels to logits."""

    def __init__(self, config: HptConfig, n_outputs: int) -> None:
        super().__init__()
        channels = (1, *config.conv_channels)
        self.blocks = nn.ModuleList(
            ConvBlock(n_in, n_out, config.norm_epsilon) for n_in, n_out in pairwise(channels)
        )
        n_flat = channels[-1] * (config.n_mels >> len(self.blocks))
        self.dense = nn.Linear(n_flat, config.dense_width, bias=False)
        self.dense_norm = nn.BatchNorm1d(config.dense_width, momentum=DENSE_NORM_MOMENTUM)
        self.recurrent = _recurrent(config, config.dense_width, N_RECURRENT_LAYERS)
        self.output = _dense(2 * config.recurrent_width, n_outputs)
        nn.init.xavier_uniform_(self.dense.weight)

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, mels) to (B, T, n_outputs)."""
        x = features[:, None]
        for block in self.blocks:
            x = block(x)
        x = self.dense(x.transpose(1, 2).flatten(2))
        with _float32(x):
            x = F.relu(self.dense_norm(x.float().transpose(1, 2)).transpose(1, 2))
            x, _ = self.recurrent(F.dropout(x, DENSE_DROPOUT, self.training))
            logits: Tensor = self.output(F.dropout(x, DENSE_DROPOUT, self.training))
        return logits


class ConditionedHead(nn.Module):
    """A recurrent layer that corrects what acoustic models say by what others say."""

    def __init__(self, config: HptConfig, n_inputs: int) -> None:
        super().__init__()
        self.recurrent = _recurrent(config, n_inputs, 1)
        self.output = _dense(2 * config.recurrent_width, N_KEYS)

    def forward(self, *heads: Tensor) -> Tensor:
        """Heads (B, T, K) to logits (B, T, K)."""
        x, _ = self.recurrent(torch.cat(heads, dim=-1))
        logits: Tensor = self.output(F.dropout(x, DENSE_DROPOUT, self.training))
        return logits


class NoteNetwork(nn.Module):
    """Onsets, offsets, frames and velocities of the keys."""

    def __init__(self, config: HptConfig) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(config.n_mels, eps=config.norm_epsilon)
        self.heads = nn.ModuleDict({name: AcousticModel(config, N_KEYS) for name in _NOTE_HEADS})
        self.onset = ConditionedHead(config, 2 * N_KEYS)
        self.frame = ConditionedHead(config, 3 * N_KEYS)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Compute logits (B, T, K) per head; onsets know velocities, frames know both ends."""
        x = self.norm(features.transpose(1, 2)).transpose(1, 2)
        logits = {name: head(x) for name, head in self.heads.items()}
        with _float32(x):
            early, offset, frame, velocity = (logits[name] for name in _NOTE_HEADS)
            # The root of a sigmoid, written so that its gradient stays finite.
            root = torch.exp(0.5 * F.logsigmoid(early))
            loudness = root * torch.sigmoid(velocity.detach())
            onset = self.onset(torch.sigmoid(early), loudness)
            ends = (torch.sigmoid(logit.detach()) for logit in (onset, offset))
            frame = self.frame(torch.sigmoid(frame), *ends)
        return {"onset": onset, "offset": offset, "frame": frame, "velocity": velocity}


class PedalNetwork(nn.Module):
    """Onsets, offsets and frames of the sustain pedal."""

    def __init__(self, config: HptConfig) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(config.n_mels, eps=config.norm_epsilon)
        self.heads = nn.ModuleDict({name: AcousticModel(config, 1) for name in _PEDAL_HEADS})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Compute logits (B, T, 1) per head."""
        x = self.norm(features.transpose(1, 2)).transpose(1, 2)
        return {name: head(x) for name, head in self.heads.items()}


class Hpt(Network):
    """Log-mels (B, T, mels) to what ``RegressionDecoder`` reads."""

    def __init__(self, config: HptConfig) -> None:
        super().__init__()
        self.notes = NoteNetwork(config) if config.notes else None
        self.pedals = PedalNetwork(config) if config.pedals else None
        self._bf16 = False

    def prepare(self, precision: str) -> None:
        """Choose bf16 for the convolutions, which are nine tenths of the work, or for nothing.

        What follows them stays in float32: between two frames values differ by little, and
        that little says where the onset lies. Filters are laid out channels last, which makes
        convolutions on a CPU 1.8 times as fast.
        """
        self._bf16 = precision == "bf16"
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Compute logits (B, T, 88 or 1) per head of the parts that there are."""
        parts = (part for part in (self.notes, self.pedals) if part is not None)
        return {name: logits for part in parts for name, logits in part(features).items()}

    def activations(self, features: Tensor) -> list[RegressionActivations]:
        """Compute values in 0-1 for each window; zeros for a part that is not there."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self._bf16):
            heads = {name: torch.sigmoid(logits) for name, logits in self(features).items()}
        n_windows, n_frames = features.shape[:2]
        narrow = (*_PEDAL_HEADS[1:], "level")
        wanted = {**dict.fromkeys(_NOTE_HEADS, N_KEYS), **dict.fromkeys(narrow, 1)}
        arrays = {
            name: heads[name].cpu().numpy()
            if name in heads
            else torch.zeros(n_windows, n_frames, n_columns).numpy()
            for name, n_columns in wanted.items()
        }
        return [
            RegressionActivations(**{name: array[i] for name, array in arrays.items()})
            for i in range(n_windows)
        ]


def _float32(x: Tensor) -> torch.autocast:
    return torch.autocast(x.device.type, enabled=False)


def _dense(n_in: int, n_out: int) -> nn.Linear:
    dense = nn.Linear(n_in, n_out)
    nn.init.xavier_uniform_(dense.weight)
    nn.init.zeros_(dense.bias)
    return dense


def _recurrent(config: HptConfig, n_in: int, n_layers: int) -> nn.GRU:
    """Make a bidirectional GRU; the new-state gate starts with an orthogonal recurrence."""
    gru = nn.GRU(n_in, config.recurrent_width, n_layers, batch_first=True, bidirectional=True)
    for name, parameter in gru.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            continue
        bound = math.sqrt(3 / parameter.shape[1])
        nn.init.uniform_(parameter, -bound, bound)
        if name.startswith("weight_hh"):
            nn.init.orthogonal_(parameter[-config.recurrent_width :])
    return gru

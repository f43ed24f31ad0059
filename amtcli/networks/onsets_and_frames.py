"""Onsets and Frames: recurrent stacks for onsets and offsets that the frame stack listens to.

Hawthorne et al., "Onsets and Frames: Dual-Objective Piano Transcription" (ISMIR 2018), with the
offset stack and the sizes of Hawthorne et al. (ICLR 2019), as Jongwook Kim rebuilt it in
PyTorch. The LSTMs run both ways over the whole window, so what is heard depends on where windows
are cut, most of all near their edges. Shapes: B windows, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amtcli.decoders.frames import FrameActivations
from amtcli.networks.conv_stack import ConvStack
from amtcli.networks.network import Network
from amtcli.notes import N_KEYS


@dataclass(frozen=True)
class OnsetsAndFramesConfig:
    """Sizes: layers are 16 times ``complexity`` wide (48 in the published network)."""

    n_mels: int
    complexity: int


@dataclass(frozen=True)
class OnsetsAndFramesOutput:
    """Logits (B, T, 88), but for ``velocity``, which is MIDI velocity / 128 as it stands.

    ``activation`` is what the frame stack says before it is told of onsets and offsets.
    """

    onset: Tensor
    offset: Tensor
    activation: Tensor
    frame: Tensor
    velocity: Tensor


class StackHead(nn.Module):
    """Convolutions and one linear layer: features (B, T, n_mels) to (B, T, 88)."""

    def __init__(self, config: OnsetsAndFramesConfig) -> None:
        super().__init__()
        self.stack = ConvStack(config.n_mels, config.complexity)
        self.output = nn.Linear(16 * config.complexity, N_KEYS)

    def forward(self, features: Tensor) -> Tensor:
        """Compute all frames."""
        values: Tensor = self.output(self.stack(features))
        return values


class RecurrentHead(nn.Module):
    """A bidirectional LSTM over (B, T, n_in), and one linear layer, to (B, T, 88)."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_in, width // 2, batch_first=True, bidirectional=True)
        self.output = nn.Linear(width, N_KEYS)

    def forward(self, x: Tensor) -> Tensor:
        """Compute all frames."""
        values: Tensor = self.output(self.lstm(x)[0])
        return values


class RecurrentStackHead(RecurrentHead):
    """Convolutions under the LSTM: features (B, T, n_mels) to (B, T, 88)."""

    def __init__(self, config: OnsetsAndFramesConfig) -> None:
        width = 16 * config.complexity
        super().__init__(width, width)
        self.stack = ConvStack(config.n_mels, config.complexity)

    def forward(self, features: Tensor) -> Tensor:
        """Compute all frames."""
        return super().forward(self.stack(features))


class OnsetsAndFrames(Network):
    """Log-mel features (B, T, n_mels) to onsets, offsets, frames and velocities per key."""

    def __init__(self, config: OnsetsAndFramesConfig) -> None:
        super().__init__()
        self.onset = RecurrentStackHead(config)
        self.offset = RecurrentStackHead(config)
        self.activation = StackHead(config)
        self.frame = RecurrentHead(3 * N_KEYS, 16 * config.complexity)
        self.velocity = StackHead(config)
        self._is_bf16 = False

    def prepare(self, precision: str) -> None:
        """Take note of the precision: in bf16 the whole network runs under autocast."""
        self._is_bf16 = precision == "bf16"

    def forward(self, features: Tensor) -> OnsetsAndFramesOutput:
        """Compute all five heads; onsets and offsets do not learn from the frames."""
        onset, offset = self.onset(features), self.offset(features)
        activation = self.activation(features)
        told = [onset.detach().sigmoid(), offset.detach().sigmoid(), activation.sigmoid()]
        return OnsetsAndFramesOutput(
            onset=onset,
            offset=offset,
            activation=activation,
            frame=self.frame(torch.cat(told, dim=-1)),
            velocity=self.velocity(features),
        )

    def activations(self, features: Tensor) -> list[FrameActivations]:
        """Compute probabilities, and velocities held within 0-1, one item per window."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self._is_bf16):
            output = self(features)
        heads = torch.stack(
            [
                output.onset.float().sigmoid(),
                output.frame.float().sigmoid(),
                output.offset.float().sigmoid(),
                output.velocity.float().clamp(0, 1),
            ]
        )
        windows = heads.transpose(0, 1).cpu().numpy()  # (B, 4, T, 88)
        return [FrameActivations(*window) for window in windows]

"""The convolutions that Onsets and Frames and its autoregressive successor listen through.

Three convolutions over time and frequency, halving the mel bands twice, and a linear map per
frame: Kelz et al., "On the Potential of Simple Framewise Approaches to Piano Transcription"
(ISMIR 2016), as sized by Hawthorne et al., "Enabling Factorized Piano Music Modeling and
Generation with the MAESTRO Dataset" (ICLR 2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvStack(nn.Module):
    """Features (B, T, n_mels) to one vector per frame, (B, T, 16 * complexity).

    ``time_kernels`` are the widths in frames of the three convolutions, odd; each of width
    3 looks one frame ahead and one back. Beyond the edges every layer sees zeros.
    """

    def __init__(
        self, n_mels: int, complexity: int, time_kernels: tuple[int, ...] = (3, 3, 3)
    ) -> None:
        super().__init__()
        self.time_kernels = time_kernels
        channels = (1, complexity, complexity, 2 * complexity)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels[i], channels[i + 1], (kernel, 3), padding=(0, 1))
            for i, kernel in enumerate(time_kernels)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in channels[1:])
        self.projection = nn.Linear(channels[-1] * (n_mels // 4), 16 * complexity)

    @property
    def lookahead_frames(self) -> int:
        """How many frames after its own an output depends on; as many as before."""
        return sum(kernel // 2 for kernel in self.time_kernels)

    def forward(self, features: Tensor) -> Tensor:
        """Compute all frames of whole windows."""
        x = features[:, None]
        for layer, kernel in enumerate(self.time_kernels):
            x = self.layer(layer, F.pad(x, (0, 0, kernel // 2, kernel // 2)))
        return self.project(x)

    def layer(self, index: int, x: Tensor) -> Tensor:
        """Run one convolution on (B, channels, T + kernel - 1, bands), giving T frames."""
        x = F.relu(self.norms[index](self.convolutions[index](x)))
        if index > 0:
            x = F.dropout(F.max_pool2d(x, (1, 2)), 0.25, self.training)
        return x

    def project(self, x: Tensor) -> Tensor:
        """Map (B, channels, T, bands) to (B, T, 16 * complexity)."""
        frames = x.transpose(1, 2).flatten(2)  # channel by channel
        return F.dropout(self.projection(frames), 0.5, self.training)


class ConvStackStream:
    """A stack in evaluation mode, fed frame by frame; it remembers what its kernels reach back to.

    The frames before the first are ``before``, (n_mels,), without end.
    """

    def __init__(self, stack: ConvStack, before: Tensor) -> None:
        self._stack = stack
        self._tails: list[Tensor | None] = [None] * len(stack.time_kernels)
        self.push(before.expand(2 * stack.lookahead_frames, -1))

    def push(self, features: Tensor) -> Tensor:
        """Take the next frames (n, n_mels), return as many outputs (n, 16 * complexity).

        The last of them belongs to the frame ``lookahead_frames`` before the last one taken.
        """
        x = features[None, None]
        for index, kernel in enumerate(self._stack.time_kernels):
            tail = self._tails[index]
            x = x if tail is None else torch.cat([tail, x], dim=2)
            self._tails[index] = x[:, :, max(x.shape[2] - kernel + 1, 0) :].clone()
            if x.shape[2] < kernel:  # only while the frames before the first go in
                return features.new_zeros(0, self._stack.projection.out_features)
            x = self._stack.layer(index, x)
        output: Tensor = self._stack.project(x)[0]
        return output

"""An encoder of features over time at three scales, without recurrence.

Its authors use it for the dynamics of piano music (github.com/zhanh-he/piano-dynamic-estimation,
ICASSP 2026) and for velocities; this is the network as their programs build it. Every scale is
``stride`` times as coarse as the one before. From layer to layer the scales are told of each
other: what comes from a neighbour is pooled or spread to the same frames and joined along an axis
of slots, which a convolution then merges. The coarsest scale attends to itself over time.

Shapes: B windows, C channels, T frames, S slots.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_MOMENTUM = 0.01  # of the normalisation that stands before the encoder
_DROPOUT = 0.2


class ResidualBlock(nn.Module):
    """Two convolutions over three frames, normalised; beside a way around."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (n_in, n_out, n_out))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n, n_out, (3, 1), padding=(1, 0)) for n in (n_in, n_out)
        )
        self.around = nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, T, 1) to (B, n_out, T, 1)."""
        before, between, after = self.norms
        first, second = self.convolutions
        y = F.relu(between(first(before(x))))
        result: Tensor = after(second(y)) + self.around(x)
        return result


class Merge(nn.Module):
    """One layer at one scale: joins the slots, then a block; (B, n_in, T, S) to (B, n_out, T, 1).

    With ``rectified``, a normalisation and a rectifier follow.
    """

    def __init__(self, n_in: int, n_out: int, n_slots: int, *, rectified: bool = False) -> None:
        super().__init__()
        self.join = nn.Conv2d(n_in, n_in, (1, n_slots))
        self.block = ResidualBlock(n_in, n_out)
        self.norm = nn.BatchNorm2d(n_out) if rectified else None

    def forward(self, *slots: Tensor) -> Tensor:
        """Merge."""
        x: Tensor = self.block(self.join(torch.cat(slots, dim=-1)))
        return x if self.norm is None else F.relu(self.norm(x))


class TimeAttention(nn.Module):
    """Attention of every frame to all of them, added, then normalised; shapes stay."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(n_channels, 1, batch_first=True)
        self.norm = nn.BatchNorm2d(n_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, 1) to the same shape."""
        frames = x[..., 0].transpose(1, 2)
        told, _ = self.attention(frames, frames, frames, need_weights=False)
        result: Tensor = self.norm(x + told.transpose(1, 2)[..., None])
        return result


class Spread(nn.Module):
    """Frames of a coarser scale, each spread over ``stride`` finer ones."""

    def __init__(self, n_channels: int, stride: int) -> None:
        super().__init__()
        self.spread = nn.ConvTranspose2d(n_channels, n_channels, (stride, 1), (stride, 1))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, C, T // stride, 1) to the frames of ``fine``, (B, C, T, 1)."""
        spread: Tensor = self.spread(coarse, output_size=list(fine.shape[2:]))
        return spread


class MultiScaleEncoder(nn.Module):
    """Features (B, n_features, T), at least ``stride`` ** 2 frames, to (B, n_outputs, T)."""

    def __init__(self, n_features: int, n_outputs: int, stride: int) -> None:
        super().__init__()
        one, two, three = n_features, 2 * n_features, 3 * n_features
        self._stride = stride
        self.norm = nn.BatchNorm2d(one)
        self.first = nn.ModuleList(Merge(one, two, 1) for _ in range(2))
        self.second = nn.ModuleList(Merge(two, three, n_slots) for n_slots in (2, 2, 1))
        self.third = nn.ModuleList(
            Merge(three, three, n_slots, rectified=True) for n_slots in (2, 3, 2)
        )
        self.fourth = nn.ModuleList(Merge(three, two, n_slots) for n_slots in (2, 3))
        self.fifth = Merge(two, one, 2, rectified=True)
        self.attentions = nn.ModuleList(TimeAttention(three) for _ in range(2))
        self.spreads = nn.ModuleList(
            Spread(n, stride) for n in (two, three, three, three, three, two)
        )
        self.output = nn.Conv2d(one, n_outputs, (3, 1), padding=(1, 0))

    def forward(self, features: Tensor) -> Tensor:
        """Encode; ``a``, ``b``, ``c`` are the scales from the finest to the coarsest."""
        spreads = self.spreads
        x = self.norm(features[..., None])
        a, b = self.first[0](x), self.first[1](self._pool(x))
        c = self._dropped(b)
        a, b, c = (
            self.second[0](a, spreads[0](b, a)),
            self.second[1](b, self._dropped(a)),
            self.second[2](c),
        )
        a, b, c = (
            self.third[0](a, spreads[1](b, a)),
            self.third[1](b, self._dropped(a), spreads[2](c, b)),
            self.third[2](self.attentions[0](c), self._dropped(b)),
        )
        c = self.attentions[1](c)
        a, b = (
            self.fourth[0](a, spreads[3](b, a)),
            self.fourth[1](b, spreads[4](c, b), self._dropped(a)),
        )
        encoded: Tensor = self.output(self.fifth(a, spreads[5](b, a)))
        return encoded[..., 0]

    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, (self._stride, 1))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(self._pool(x), _DROPOUT, self.training)

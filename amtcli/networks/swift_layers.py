"""Layers of Swift, and of the network for velocities that listens as it does.

Shapes: B windows, C channels, T frames, S semitones, K keys (88); channels lie last in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.networks.swift_convolution import Convolution, Lookahead, Steps
from amtcli.notes import N_KEYS

MIX_TIME_KERNEL = 5
GATHERED_FRAMES = 128  # of bytes, and as much less of what is larger
RELATIVES_SEMITONES = (-24, -19, -12, -7, 0, 7, 12, 19, 24)  # which share partials with a key
EXCHANGE_CHANNELS = 16


@dataclass(frozen=True)
class TrunkConfig:
    """Sizes of what listens to every key.

    n_spectra, bins_per_semitone, n_semitones: what the front-end gives; the middle bin of the
        first semitone is the lowest key.
    stem_channels: of the two convolutions over bins.
    partials_semitones: where every key listens, in semitones from its own pitch.
    n_channels: of everything that is computed per key.
    mix_channels, mix_width: channels per key that enter the dense layer over all keys, and its
        width.
    dilations: in frames, one for each block.
    """

    n_spectra: int
    bins_per_semitone: int
    n_semitones: int
    stem_channels: tuple[int, int]
    partials_semitones: tuple[int, ...]
    n_channels: int
    mix_channels: int
    mix_width: int
    dilations: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.n_semitones < N_KEYS:
            raise ValueError(f"n_semitones is {self.n_semitones}: there are {N_KEYS} keys")
        if 0 not in self.partials_semitones:
            raise ValueError("partials_semitones must hold 0, the pitch of the key itself")


class HarmonicGather(nn.Module):
    """Every key's own view of others: (B, n_in, T, S) to (B, n_out, T, K).

    Of columns a semitone wide, the first of which is the lowest key's, each key gathers those at
    ``intervals`` semitones from its own, through one matrix each. Beyond the columns there are
    zeros. ``n_beside`` channels of the key itself may come beside.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        intervals: tuple[int, ...],
        n_semitones: int,
        n_beside: int = 0,
    ) -> None:
        super().__init__()
        self.before = max(-min(intervals), 0)
        self.after = max(max(intervals) + N_KEYS - n_semitones, 0)
        self.starts = [self.before + interval for interval in intervals]
        self.merge = Convolution(n_in * len(intervals) + n_beside, n_out, (1, 1), Lookahead(0))

    def forward(
        self, x: Tensor, beside: Tensor | None = None, around: Tensor | None = None
    ) -> Tensor:
        """Gather and merge; adds ``around`` before it rectifies."""
        if self.training:
            merged: Tensor = self.merge(self._gather(x, beside), around)
            return merged
        # What is gathered is large; a piece of it at a time stays in the processor's cache.
        pieces = []
        n_frames = GATHERED_FRAMES // x.element_size()
        for start in range(0, x.shape[2], n_frames):
            frames = (slice(None), slice(None), slice(start, start + n_frames))
            gathered = self._gather(x[frames], None if beside is None else beside[frames])
            pieces.append(self.merge(gathered, None if around is None else around[frames]))
        return torch.cat(pieces, dim=2)

    def quantise(self, step: float, steps: Steps, around_step: float | None = None) -> float:
        """Compute with bytes that count ``step``; returns what those of the result count."""
        self.merge.quantise(step, steps[self.merge], around_step)
        return steps[self.merge]

    def _gather(self, x: Tensor, beside: Tensor | None) -> Tensor:
        """Put the columns of a key's intervals into its channels."""
        columns = F.pad(x.permute(0, 2, 3, 1), (0, 0, self.before, self.after))
        gathered = [columns[:, :, start : start + N_KEYS] for start in self.starts]
        if beside is not None:
            gathered.append(beside.permute(0, 2, 3, 1))
        return torch.cat(gathered, dim=3).permute(0, 3, 1, 2)


class KeyMix(nn.Module):
    """A dense layer over all keys of a frame and a few frames of its result, beside a way around.

    (B, C, T, K) to the same shape.
    """

    def __init__(self, config: TrunkConfig, lookahead: Lookahead) -> None:
        super().__init__()
        n_flat = config.mix_channels * N_KEYS
        none, width = Lookahead(0), config.mix_width
        self.narrow = Convolution(config.n_channels, config.mix_channels, (1, 1), none)
        self.gather = Convolution(n_flat, width, (1, 1), none)
        self.smooth = Convolution(width, width, (MIX_TIME_KERNEL, 1), lookahead, groups=width)
        self.spread = Convolution(width, n_flat, (1, 1), none)
        self.widen = Convolution(config.mix_channels, config.n_channels, (1, 1), none)

    def forward(self, x: Tensor) -> Tensor:
        """Add what all keys say together."""
        hidden = self.smooth(self.gather(flat_keys(self.narrow(x))))
        mixed: Tensor = self.widen(unflat_keys(self.spread(hidden)), around=x)
        return mixed

    def quantise(self, step: float, steps: Steps) -> float:
        """Compute with bytes that count ``step``; returns what those of the result count."""
        last = step
        for layer in (self.narrow, self.gather, self.smooth, self.spread):
            layer.quantise(last, steps[layer])
            last = steps[layer]
        self.widen.quantise(last, steps[self.widen], around_step=step)
        return steps[self.widen]


class Block(nn.Module):
    """Neighbours in time, dilated, and on the keyboard, then all channels; beside a way around."""

    def __init__(self, n_channels: int, dilation: int, lookahead: Lookahead) -> None:
        super().__init__()
        self.spread = Convolution(n_channels, n_channels, (3, 3), lookahead, dilation=dilation)
        self.merge = Convolution(n_channels, n_channels, (1, 1), Lookahead(0))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, K) to the same shape."""
        result: Tensor = self.merge(self.spread(x), around=x)
        return result

    def quantise(self, step: float, steps: Steps) -> float:
        """Compute with bytes that count ``step``; returns what those of the result count."""
        self.spread.quantise(step, steps[self.spread])
        self.merge.quantise(steps[self.spread], steps[self.merge], around_step=step)
        return steps[self.merge]


class Exchange(nn.Module):
    """What each key has made out, told to those it shares partials with; beside a way around.

    To a key alone, an octave's note and the partials of the one below look alike. (B, C, T, K)
    to the same shape, frame by frame; a dense layer tells all keys of all others, in few words.
    """

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        none, n_told, n_few = Lookahead(0), EXCHANGE_CHANNELS, config.mix_channels
        self.tell = Convolution(config.n_channels, n_told, (1, 1), none)
        self.gather = Convolution(n_told * N_KEYS, config.mix_width, (1, 1), none)
        self.spread = Convolution(config.mix_width, n_few * N_KEYS, (1, 1), none)
        self.hear = HarmonicGather(n_told, config.n_channels, RELATIVES_SEMITONES, N_KEYS, n_few)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the relatives of each key say, and what all keys say together."""
        told = self.tell(x)
        together = unflat_keys(self.spread(self.gather(flat_keys(told))))
        heard: Tensor = self.hear(told, beside=together, around=x)
        return heard

    def quantise(self, step: float, steps: Steps) -> float:
        """Compute with bytes that count ``step``; returns what those of the result count."""
        # What is told lies beside what all keys say, so bytes of both must count the same.
        told = max(steps[self.tell], steps[self.spread])
        self.tell.quantise(step, told)
        self.gather.quantise(told, steps[self.gather])
        self.spread.quantise(steps[self.gather], told)
        return self.hear.quantise(told, steps, around_step=step)


def flat_keys(x: Tensor) -> Tensor:
    """(B, C, T, K) to one column of all keys' channels, (B, K * C, T, 1), without a copy."""
    return x.permute(0, 2, 3, 1).flatten(2).transpose(1, 2)[..., None]


def unflat_keys(x: Tensor) -> Tensor:
    """Undo `flat_keys`."""
    columns = x[..., 0].transpose(1, 2)
    return columns.reshape(*columns.shape[:2], N_KEYS, -1).permute(0, 3, 1, 2)


def initialise(module: nn.Module) -> None:
    """Start residual ways at zero. Parents come after children."""
    if isinstance(module, Convolution):
        nn.init.kaiming_normal_(module.convolution.weight, nonlinearity="relu")
    if isinstance(module, Block):
        nn.init.zeros_(module.merge.norm.weight)
    if isinstance(module, KeyMix):
        nn.init.zeros_(module.widen.norm.weight)
    if isinstance(module, Exchange):
        nn.init.zeros_(module.hear.merge.norm.weight)


def initialise_output(output: nn.Conv2d, bias: float = -3.0) -> None:
    """Start where most cells say no."""
    nn.init.normal_(output.weight, std=0.01)
    assert output.bias is not None
    nn.init.constant_(output.bias, bias)

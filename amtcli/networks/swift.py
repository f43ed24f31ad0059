"""Swift: a small convolutional network over time and keys, made for processors.

Spectra with whole bins per semitone become one column per semitone; every key then gathers the
columns of its partials, so that all keys share their weights. One dense layer per frame lets keys
know of each other; blocks dilated in time do the rest, and between them keys may tell those they
share partials with what they have made out. Heads are regressed as in Kong et al.,
"High-Resolution Piano Transcription With Pedals by Regressing Onset and Offset Times" (TASLP
2021). Velocities are counted from the recording's level, which a window of two seconds does not
tell: every frame's level is given along, and who has seen more subtracts the mean. Shapes:
B windows, C channels, T frames, S semitones, K keys (88); inside the network channels lie last in
memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.decoders.frames import N_KEYS
from amtcli.decoders.regression import RegressionActivations
from amtcli.networks.network import Network

HEADS = ("onset", "offset", "frame", "velocity")
PEDAL_HEADS = ("pedal_offset", "pedal_frame")
MIX_TIME_KERNEL = 5
RELATIVES_SEMITONES = (-24, -19, -12, -7, 0, 7, 12, 19, 24)  # which share partials with a key
EXCHANGE_CHANNELS = 16
PEDAL_TIME_KERNEL, PEDAL_DILATIONS = 5, (1, 3)
PEDAL_KEY_CHANNELS = 4
GATHERED_FRAMES = 32
DB_PER_UNIT = 20.0  # of the front-end's features
USUAL_LEVEL_WEIGHT = 1.0  # a velocity of 64 is 1.6 higher for a decibel more

_TYPICAL_SIZE = (400, N_KEYS)  # for which oneDNN lays out weights; others are computed as well


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


@dataclass(frozen=True)
class SwiftConfig(TrunkConfig):
    """Sizes of the network.

    exchange_after_blocks: after which blocks keys hear of each other again, counted from 0.
    pedal_width: of the layers behind the pedal's heads.
    max_lookahead_frames: layers look ahead as far as behind until this is used up, first ones
        first; then they look behind only.
    """

    exchange_after_blocks: tuple[int, ...]
    pedal_width: int
    max_lookahead_frames: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.exchange_after_blocks) <= set(range(len(self.dilations))):
            raise ValueError(
                f"exchange_after_blocks is {list(self.exchange_after_blocks)}: "
                f"there are blocks 0 to {len(self.dilations) - 1}"
            )


class Lookahead:
    """Hands out the frames that layers may look ahead, until there are none left."""

    def __init__(self, frames: int) -> None:
        self.left = frames
        self.given = 0

    def take(self, wanted: int) -> int:
        """Return how many of the wanted frames a layer gets."""
        taken = min(wanted, self.left)
        self.left -= taken
        self.given += taken
        return taken


class Convolution(nn.Module):
    """A convolution over time and frequency, its normalisation and a rectifier.

    Kernels and dilations are given as (time, frequency); widths are odd. Time keeps its length,
    and frequency is padded so that every stride-th column is answered, with zeros at all edges.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: tuple[int, int],
        lookahead: Lookahead,
        *,
        dilation: int = 1,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        reach = (kernel[0] - 1) * dilation
        self.ahead_frames = lookahead.take(reach // 2)
        self.behind_frames = reach - self.ahead_frames
        # What is as long on both sides, the convolution pads itself, without a copy.
        self._pads_itself = self.ahead_frames == self.behind_frames
        self._padding = (
            self.ahead_frames if self._pads_itself else 0,
            0 if stride > 1 else kernel[1] // 2,
        )
        self.convolution = nn.Conv2d(
            n_in,
            n_out,
            kernel,
            stride=(1, stride),
            dilation=(dilation, 1),
            padding=self._padding,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(n_out)
        self._folded: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, around: Tensor | None = None) -> Tensor:
        """(B, n_in, T, F) to (B, n_out, T, F // stride); adds ``around`` before it rectifies."""
        if not self._pads_itself:
            x = F.pad(x, (0, 0, self.behind_frames, self.ahead_frames))
        if self._folded is None or self.training:
            result: Tensor = self.norm(self.convolution(x))
            return torch.relu_(result if around is None else result + around)
        return self._fused(x, around, self._padding)

    def unpadded(self, x: Tensor, around: Tensor | None = None) -> Tensor:
        """Compute the frames whose neighbours in time are all there, once folded."""
        return self._fused(x, around, (0, self._padding[1]))

    def fold(self, dtype: torch.dtype) -> None:
        """Make one convolution of both for inference, with weights and results of ``dtype``."""
        norm, layer = self.norm, self.convolution
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = (layer.weight * scale[:, None, None, None]).detach()
        weight = weight.to(dtype, memory_format=torch.channels_last)
        bias = (norm.bias - norm.running_mean * scale).detach().to(dtype)
        if _can_fuse(weight):
            size = [1, layer.in_channels, *_TYPICAL_SIZE]
            settings = (self._padding, layer.stride, layer.dilation, layer.groups)
            weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *settings, size)
        self._folded = (weight, bias)

    def _fused(self, x: Tensor, around: Tensor | None, padding: tuple[int, int]) -> Tensor:
        """Convolve, add and rectify in one pass over the result, where oneDNN does it."""
        assert self._folded is not None
        weight, bias = self._folded
        layer = self.convolution
        settings = (padding, layer.stride, layer.dilation, layer.groups)
        if not weight.is_mkldnn:
            result = torch.conv2d(
                x, weight, bias, layer.stride, padding, layer.dilation, layer.groups
            )
            return torch.relu_(result if around is None else result.add_(around))
        ops = torch.ops.mkldnn
        fused: Tensor = (
            ops._convolution_pointwise(x, weight, bias, *settings, "relu", [], "")
            if around is None
            else ops._convolution_pointwise.binary(
                x, around, weight, bias, *settings, "add", 1.0, "relu", [], ""
            )
        )
        return fused


def _can_fuse(weight: Tensor) -> bool:
    """Tell whether there are the operators that PyTorch's own compiler emits for processors."""
    ops = torch.ops.mkldnn
    return (
        weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and hasattr(ops, "_reorder_convolution_weight")
        and hasattr(ops, "_convolution_pointwise")
        and (weight.dtype == torch.float32 or bool(ops._is_mkldnn_bf16_supported()))
    )


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
        for start in range(0, x.shape[2], GATHERED_FRAMES):
            frames = (slice(None), slice(None), slice(start, start + GATHERED_FRAMES))
            gathered = self._gather(x[frames], None if beside is None else beside[frames])
            pieces.append(self.merge(gathered, None if around is None else around[frames]))
        return torch.cat(pieces, dim=2)

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


class Exchange(nn.Module):
    """What each key has made out, told to those it shares partials with; beside a way around.

    To a key alone, an octave's note and the partials of the one below look alike. (B, C, T, K)
    to the same shape, frame by frame; a dense layer tells all keys of all others, in few words.
    """

    def __init__(self, config: SwiftConfig) -> None:
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


class PedalHead(nn.Module):
    """All keys at once to the pedal's logits: (B, C, T, K) to (B, 2, T)."""

    def __init__(self, config: SwiftConfig, lookahead: Lookahead) -> None:
        super().__init__()
        width, none = config.pedal_width, Lookahead(0)
        self.narrow = Convolution(config.n_channels, PEDAL_KEY_CHANNELS, (1, 1), none)
        self.gather = Convolution(PEDAL_KEY_CHANNELS * N_KEYS, width, (1, 1), none)
        self.times = nn.ModuleList(
            Convolution(width, width, (PEDAL_TIME_KERNEL, 1), lookahead, dilation=dilation)
            for dilation in PEDAL_DILATIONS
        )
        self.output = nn.Conv2d(width, len(PEDAL_HEADS), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits in float32."""
        hidden = self.gather(flat_keys(self.narrow(x)))
        for layer in self.times:
            hidden = layer(hidden, around=hidden)
        return self.logits(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, width, T, 1) to (B, 2, T)."""
        logits: Tensor = self.output(hidden.to(self.output.weight.dtype))
        return logits[..., 0]


class Swift(Network):
    """Features (B, T, bins, spectra) to what ``PeaksDecoder`` reads."""

    can_grow = True  # in anything that adds to what is there: residual ways start at zero

    def __init__(self, config: SwiftConfig) -> None:
        super().__init__()
        lookahead = Lookahead(config.max_lookahead_frames)
        first, second = config.stem_channels
        n_bins = config.n_semitones * config.bins_per_semitone
        self.bin_offset = nn.Parameter(torch.zeros(n_bins, config.n_spectra))
        self.bins = Convolution(config.n_spectra, first, (3, 5), lookahead)
        self.semitones = Convolution(
            first, second, (3, config.bins_per_semitone), lookahead, stride=config.bins_per_semitone
        )
        self.partials = HarmonicGather(
            second, config.n_channels, config.partials_semitones, config.n_semitones
        )
        self.near = Block(config.n_channels, 1, lookahead)
        self.mix = KeyMix(config, lookahead)
        self.blocks = nn.ModuleList(
            Block(config.n_channels, dilation, lookahead) for dilation in config.dilations
        )
        self.exchanges = nn.ModuleDict(
            {str(number): Exchange(config) for number in config.exchange_after_blocks}
        )
        self.heads = nn.Conv2d(config.n_channels, len(HEADS), 1)
        # From 0 it does not move: what is heard must rise with the level before less of it pays.
        self.level_weight = nn.Parameter(torch.tensor(USUAL_LEVEL_WEIGHT))
        self.pedal = PedalHead(config, lookahead)
        self.lookahead_frames = lookahead.given
        self._dtype = torch.float32
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
        self.apply(initialise)
        for output in (self.heads, self.pedal.output):
            initialise_output(output)

    def prepare(self, precision: str) -> None:
        """Fold normalisations into convolutions; heads stay in float32."""
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        for layer in self._convolutions():
            layer.fold(self._dtype)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Compute logits: (B, T, K) for each of HEADS, (B, T, 1) for each of PEDAL_HEADS.

        "level" (B, T, 1) is not one: its mean is to be subtracted from the velocity's.
        """
        x = self.semitones(self.bins(self.as_image(features)))
        x = self.mix(self.near(self.partials(x)))
        for number, block in enumerate(self.blocks):
            x = self.exchanged(number, block(x))
        keys = self.key_logits(x).unbind(dim=1)
        pedals = self.pedal(x).transpose(1, 2).split(1, dim=2)
        logits = dict(zip(HEADS + PEDAL_HEADS, (*keys, *pedals), strict=True))
        return {**logits, "level": self.levels(features)}

    def exchanged(self, number: int, x: Tensor) -> Tensor:
        """Let keys hear of each other after the block ``number``, where they do."""
        name = str(number)
        result: Tensor = self.exchanges[name](x) if name in self.exchanges else x
        return result

    def as_image(self, features: Tensor) -> Tensor:
        """(B, T, bins, spectra) to what the first layer takes, (B, spectra, T, bins)."""
        image: Tensor = (features + self.bin_offset).permute(0, 3, 1, 2)
        return image if self.training else image.to(self._dtype)

    def key_logits(self, x: Tensor) -> Tensor:
        """(B, C, T, K) to (B, 4, T, K), in the order of HEADS."""
        logits: Tensor = self.heads(x.to(self.heads.weight.dtype))
        return logits

    def levels(self, features: Tensor) -> Tensor:
        """Weigh the levels of frames (B, T, bins, spectra) as velocities want it: (B, T, 1)."""
        return self.level_weight * frame_levels(features)[..., None]

    def activations(self, features: Tensor) -> list[RegressionActivations]:
        """Compute probabilities and velocities, in 0-1, and levels, in the velocity's logits."""
        logits = self(features)
        parts = {"level": logits.pop("level")}
        parts |= {name: torch.sigmoid(values) for name, values in logits.items()}
        heads = {name: values.cpu().numpy() for name, values in parts.items()}
        return [
            RegressionActivations(**{name: values[i] for name, values in heads.items()})
            for i in range(len(features))
        ]

    def _convolutions(self) -> Iterator[Convolution]:
        return (module for module in self.modules() if isinstance(module, Convolution))


def frame_levels(features: Tensor) -> Tensor:
    """Levels of frames (B, T, bins, spectra) in float32: (B, T), in the features' unit.

    That of a frame is the mean power of its bins in the first spectrum, in decibels.
    """
    decibels = features[..., 0].float() * DB_PER_UNIT
    sums = torch.logsumexp(decibels * (math.log(10) / 10), dim=2) * (10 / math.log(10))
    return (sums - 10 * math.log10(decibels.shape[2])) / DB_PER_UNIT


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

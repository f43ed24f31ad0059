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
from typing import Any, cast

import torch
from torch import Tensor, nn

from amtcli.decoders.regression import RegressionActivations
from amtcli.networks.int8_convolution import STEPS, as_numbers, to_bytes
from amtcli.networks.network import Network
from amtcli.networks.swift_convolution import Convolution, Lookahead, Steps
from amtcli.networks.swift_layers import (
    Block,
    Exchange,
    HarmonicGather,
    KeyMix,
    TrunkConfig,
    flat_keys,
    initialise,
    initialise_output,
)
from amtcli.notes import N_KEYS

HEADS = ("onset", "offset", "frame", "velocity")
PEDAL_HEADS = ("pedal_offset", "pedal_frame")
PEDAL_TIME_KERNEL, PEDAL_DILATIONS = 5, (1, 3)
PEDAL_KEY_CHANNELS = 4
DB_PER_UNIT = 20.0  # of the front-end's features
USUAL_LEVEL_WEIGHT = 1.0  # a velocity of 64 is 1.6 higher for a decibel more
COUNTED = 0.75  # of a peak: hardly anything is above that, and so steps are finer


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
        self.step = 1.0  # what bytes of the last hidden layer count

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits in float32."""
        hidden = self.gather(flat_keys(self.narrow(x)))
        for layer in self.times:
            hidden = layer(hidden, around=hidden)
        return self.logits(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, width, T, 1) to (B, 2, T)."""
        logits: Tensor = self.output(as_numbers(hidden, self.step, self.output.weight.dtype))
        return logits[..., 0]

    def quantise(self, step: float, steps: Steps) -> None:
        """Compute with bytes that count ``step``."""
        for layer in (self.narrow, self.gather):
            layer.quantise(step, steps[layer])
            step = steps[layer]
        for layer in cast("list[Convolution]", list(self.times)):
            layer.quantise(step, steps[layer], around_step=step)
            step = steps[layer]
        self.step = step


class Swift(Network):
    """Features (B, T, bins, spectra) to what ``PeaksDecoder`` reads."""

    def __init__(self, config: SwiftConfig) -> None:
        super().__init__()
        # Some layers see all keys, or all intervals, with so many channels each in one row.
        self._in_rows = (config.mix_channels, config.stem_channels[1])
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
        for layer in self._convolutions():
            layer.watch()
        self._dtype = torch.float32
        self._entry_step: float | None = None
        self._exit_step = 1.0
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
        self.apply(initialise)
        for output in (self.heads, self.pedal.output):
            initialise_output(output)

    def prepare(self, precision: str) -> None:
        """Fold normalisations into convolutions; heads stay in float32.

        In int8 the stem, which hears decibels, stays in float32, too.
        """
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        for layer in self._convolutions():
            layer.fold(self._dtype)
        self._entry_step = None
        if precision == "int8":
            self._quantise()

    def can_grow_from(self, smaller: Network) -> bool:
        """Grow in all that adds to what is there, as residual ways start at zero."""
        return isinstance(smaller, Swift) and self._in_rows == smaller._in_rows

    @property
    def precisions(self) -> tuple[str, ...]:
        """int8 where the range of all that is computed is known."""
        known = all(peak > 0 for peak in self._peaks().values())
        return ("float32", "bf16", "int8") if known else ("float32", "bf16")

    def _quantise(self) -> None:
        steps = {layer: COUNTED * peak / STEPS for layer, peak in self._peaks().items()}
        parts: list[Any] = [self.partials, self.near, self.mix]
        for number, block in enumerate(self.blocks):
            parts.append(block)
            if (name := str(number)) in self.exchanges:
                parts.append(self.exchanges[name])
        step = self._entry_step = steps[self.semitones]
        for part in parts:
            step = part.quantise(step, steps)
        self._exit_step = step
        self.pedal.quantise(step, steps)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Compute logits: (B, T, K) for each of HEADS, (B, T, 1) for each of PEDAL_HEADS.

        "level" (B, T, 1) is not one: its mean is to be subtracted from the velocity's.
        """
        x = self.semitones(self.bins(self.as_image(features)))
        if self._entry_step is not None and not self.training:
            x = to_bytes(x, self._entry_step)
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
        logits: Tensor = self.heads(as_numbers(x, self._exit_step, self.heads.weight.dtype))
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

    def _peaks(self) -> dict[Convolution, float]:
        return {layer: float(layer.peak or 0.0) for layer in self._convolutions()}

    def _convolutions(self) -> Iterator[Convolution]:
        return (module for module in self.modules() if isinstance(module, Convolution))


def frame_levels(features: Tensor) -> Tensor:
    """Levels of frames (B, T, bins, spectra) in float32: (B, T), in the features' unit.

    That of a frame is the mean power of its bins in the first spectrum, in decibels.
    """
    decibels = features[..., 0].float() * DB_PER_UNIT
    sums = torch.logsumexp(decibels * (math.log(10) / 10), dim=2) * (10 / math.log(10))
    return (sums - 10 * math.log10(decibels.shape[2])) / DB_PER_UNIT

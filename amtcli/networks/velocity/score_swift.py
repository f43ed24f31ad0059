"""Velocities of a score's notes by what listens to every key in Swift.

The score joins the sound as soon as there is one column per key, so that everything behind it
knows which notes begin together, which ones still sound, and how long each is held. How loud a
recording is says nothing of how it was played, but how loud a passage is beside the others does:
features are counted from the mean level of the window while the score has notes, so that windows
should be long. All else are convolutions, which hear a second or two around a note. Shapes:
B windows, C channels, T frames, K keys (88).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amtcli.networks.swift import frame_levels
from amtcli.networks.swift_convolution import Convolution, Lookahead
from amtcli.networks.swift_layers import (
    Block,
    HarmonicGather,
    KeyMix,
    TrunkConfig,
    initialise,
    initialise_output,
)
from amtcli.networks.velocity.score import Condition, ScoreRolls
from amtcli.networks.velocity.velocity_network import VelocityNetwork

_CONDITIONS: tuple[Condition, ...] = ("onset", "frame")
_SCORE_KERNEL = (5, 3)  # frames and keys
_UNLIMITED = 10**6
_USUAL_LOGIT = -0.3  # of a velocity of 55
PIECE_FRAMES = 1200  # computed at once without training: windows of minutes take much memory


@dataclass(frozen=True)
class ScoreSwiftConfig(TrunkConfig):
    """Sizes of the network.

    score_informed: False leaves the score out.
    """

    score_informed: bool


class ScoreSwift(VelocityNetwork):
    """Features (B, T, bins, spectra) of `LogFrequency` and rolls to velocities (B, T, K)."""

    def __init__(self, config: ScoreSwiftConfig) -> None:
        super().__init__()
        ahead = Lookahead(_UNLIMITED)
        first, second = config.stem_channels
        n_bins, bins = config.n_semitones * config.bins_per_semitone, config.bins_per_semitone
        self.score_informed = config.score_informed
        self.bin_offset = nn.Parameter(torch.zeros(n_bins, config.n_spectra))
        self.bins = Convolution(config.n_spectra, first, (3, 5), ahead)
        self.semitones = Convolution(first, second, (3, bins), ahead, stride=bins)
        self.partials = HarmonicGather(
            second, config.n_channels, config.partials_semitones, config.n_semitones
        )
        if config.score_informed:
            # Beside the sound's own two layers, which reach as far: it takes no more frames.
            beside = Lookahead(_UNLIMITED)
            self.told = Convolution(len(_CONDITIONS) + 1, config.n_channels, _SCORE_KERNEL, beside)
        self.near = Block(config.n_channels, 1, ahead)
        self.mix = KeyMix(config, ahead)
        self.blocks = nn.ModuleList(
            Block(config.n_channels, dilation, ahead) for dilation in config.dilations
        )
        self.output = nn.Conv2d(config.n_channels, 1, 1)
        self.lookahead_frames = ahead.given
        self._dtype = torch.float32
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
        self.apply(initialise)
        initialise_output(self.output, _USUAL_LOGIT)

    def prepare(self, precision: str) -> None:
        """Fold normalisations into convolutions; the output stays in float32."""
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        for layer in self._convolutions():
            layer.fold(self._dtype)

    def n_frames(self, features: Tensor) -> int:
        """Count the frames of features."""
        return features.shape[1]

    def estimate(self, features: Tensor, score: ScoreRolls) -> Tensor:
        """Compute float32 velocities."""
        level = window_level(features, score)
        if self.training:
            return self._estimate(features - level, score)
        n_frames, reach = features.shape[1], self.lookahead_frames
        pieces = []
        for start in range(0, n_frames, PIECE_FRAMES):
            first = max(start - reach, 0)
            heard = slice(first, start + PIECE_FRAMES + reach)
            rolls = ScoreRolls(*(roll[:, heard] for roll in score))
            answer = self._estimate(features[:, heard] - level, rolls)
            pieces.append(answer[:, start - first :][:, :PIECE_FRAMES])
        return torch.cat(pieces, dim=1)

    def _estimate(self, features: Tensor, score: ScoreRolls) -> Tensor:
        """Compute the velocities of frames whose level is known."""
        x = self._image((features + self.bin_offset).permute(0, 3, 1, 2))
        x = self.partials(self.semitones(self.bins(x)))
        if self.score_informed:
            rolls = torch.cat([score.stacked(_CONDITIONS), score.held[:, None]], dim=1)
            x = self.told(self._image(rolls), around=x)
        x = self.mix(self.near(x))
        for block in self.blocks:
            x = block(x)
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.output(x.float())
        return torch.sigmoid(logits[:, 0])

    def _image(self, x: Tensor) -> Tensor:
        """Lay out (B, C, T, F) as convolutions want it."""
        image = x.contiguous(memory_format=torch.channels_last)
        return image if self.training else image.to(self._dtype)

    def _convolutions(self) -> Iterator[Convolution]:
        return (module for module in self.modules() if isinstance(module, Convolution))


def window_level(features: Tensor, score: ScoreRolls) -> Tensor:
    """Average the level of the frames (B, T, bins, spectra) in which the score has notes.

    Returns (B, 1, 1, 1), in the features' unit; 0 where there are no notes.
    """
    sounds = score.frame.amax(dim=2)
    level = (frame_levels(features) * sounds).sum(dim=1) / sounds.sum(dim=1).clamp(min=1)
    return level[:, None, None, None]

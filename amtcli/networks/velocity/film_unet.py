"""FiLM-UNet: a U-net over the spectrogram whose way down the score modulates.

Kim and Serra, "A Method for MIDI Velocity Estimation for Piano Performance by a U-Net with
Attention and FiLM" (ISMIR 2024), as the program that scored it builds it: the score is the roll
of sounding frames, and the first three scales of the spectrogram are each multiplied by and
shifted by what a second way down makes of it. The velocity column of Kong et al. reads the result.

Attention runs over all frames and the recurrent layers both ways, and scales lie on a grid from
the window's start: answers depend on the whole window. Shapes: B windows, C channels, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.networks.hpt import DENSE_DROPOUT, AcousticModel, HptConfig
from amtcli.networks.velocity.score import ScoreRolls
from amtcli.networks.velocity.velocity_network import VelocityNetwork
from amtcli.notes import N_KEYS


@dataclass(frozen=True)
class FilmUnetConfig:
    """Sizes.

    score_informed: False leaves the score out, and what it would modulate as it is.
    channels: of the U-net's scales; all but the coarsest are modulated.
    conv_channels to norm_epsilon: of the part behind it, see `amtcli.networks.hpt.HptConfig`.
    flat_width: of the dense layer that comes before that part's own.
    """

    score_informed: bool
    n_mels: int
    channels: tuple[int, ...]
    conv_channels: tuple[int, ...]
    flat_width: int
    dense_width: int
    recurrent_width: int
    norm_epsilon: float

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise ValueError("channels must have two entries or more")
        if min(self.n_mels, N_KEYS) >> len(self.channels) < 1:
            raise ValueError("channels has more entries than mels or keys can be halved")


class Down(nn.Module):
    """Two convolutions beside a way around, then half the size: (B, n_in, T, F) to half of it.

    Also returns the frames and bands that were halved.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(n, n_out, 3, padding=1) for n in (n_in, n_out))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n_out) for _ in range(2))
        self.around = nn.Conv2d(n_in, n_out, 1)
        self.halve = nn.Conv2d(n_out, n_out, 2, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, list[int]]:
        """Go down."""
        y = x
        for convolve, normalise in zip(self.convolutions, self.norms, strict=True):
            y = F.leaky_relu(normalise(convolve(y)))
        return self.halve(y + self.around(x)), list(x.shape[2:])


class Up(nn.Module):
    """Attention over time, twice the size, the skip beside it, two convolutions.

    The last of them, without a skip, ends in a convolution alone.
    """

    def __init__(self, n_in: int, n_skip: int, n_out: int) -> None:
        super().__init__()
        both = n_in + n_skip
        self.enlarge = nn.ConvTranspose2d(n_in, n_in, 2, stride=2)
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 3, padding=1) for a, b in pairwise((both, both // 2, n_out))
        )
        n_norms = 2 if n_skip else 1
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (both // 2, n_out)[:n_norms])

    def forward(self, x: Tensor, size: list[int], skip: Tensor | None) -> Tensor:
        """Go up to ``size``, frames and bands."""
        x = F.scaled_dot_product_attention(x, x, x)
        x = self.enlarge(x, output_size=size)
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        first, last = self.convolutions
        x = F.leaky_relu(self.norms[0](first(x)))
        x = last(x)
        return x if skip is None else F.leaky_relu(self.norms[1](x))


class ScoreWay(nn.Module):
    """The score's way down: factors and shifts for each scale that is modulated."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.downs = nn.ModuleList(Down(*pair) for pair in pairwise((1, *channels)))
        self.modulations = nn.ModuleList(
            nn.Linear(N_KEYS >> scale, 2) for scale in range(1, len(channels) + 1)
        )

    def forward(self, roll: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(B, 1, T, K) to pairs (B, C, frames of the scale, 1)."""
        x, modulations = roll, []
        for down, linear in zip(self.downs, self.modulations, strict=True):
            x, _ = down(x)
            factor, shift = linear(x).split(1, dim=-1)
            modulations.append((factor, shift))
        return modulations


class Unet(nn.Module):
    """Spectrogram (B, 1, T, mels) and the score's roll (B, 1, T, K) to a map like the first."""

    def __init__(self, config: FilmUnetConfig) -> None:
        super().__init__()
        inner = config.channels[:-1]
        self.downs = nn.ModuleList(Down(*pair) for pair in pairwise((1, *config.channels)))
        self.score = ScoreWay(inner) if config.score_informed else None
        self.skips = nn.ModuleList(nn.Conv2d(n, n, 3, padding=1) for n in inner)
        rising = list(reversed(list(pairwise(config.channels))))
        ups = [Up(coarse, fine, fine) for fine, coarse in rising]
        self.ups = nn.ModuleList([*ups, Up(config.channels[0], 0, 1)])

    def forward(self, x: Tensor, roll: Tensor) -> Tensor:
        """Go down and up; values in 0-1."""
        modulations = [] if self.score is None else self.score(roll)
        sizes: list[list[int]] = []
        skips: list[Tensor | None] = [None]
        for scale, down in enumerate(self.downs):
            x, size = down(x)
            sizes.append(size)
            if scale < len(modulations):
                factor, shift = modulations[scale]
                x = factor * x + shift
            if scale < len(self.skips):
                skips.append(self.skips[scale](x))
        for up in self.ups:
            x = up(x, sizes.pop(), skips.pop())
        return torch.sigmoid(x)


class Flat(nn.Module):
    """A dense layer, normalised and rectified: (B, T, n_in) to (B, T, n_out)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(n_in, n_out, bias=False)
        self.norm = nn.BatchNorm1d(n_out)
        nn.init.xavier_uniform_(self.dense.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Run."""
        x = F.relu(self.norm(self.dense(x).transpose(1, 2)).transpose(1, 2))
        return F.dropout(x, DENSE_DROPOUT, self.training)


class FilmUnet(VelocityNetwork):
    """Log-mels (B, T, mels), T at least 16, and the score's rolls to velocities."""

    def __init__(self, config: FilmUnetConfig) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(config.n_mels, eps=config.norm_epsilon)
        self.unet = Unet(config)
        n_flat = config.conv_channels[-1] * (config.n_mels >> len(config.conv_channels))
        self.acoustic = AcousticModel(_behind(config), N_KEYS)
        dense = nn.Linear(config.flat_width, config.dense_width, bias=False)
        nn.init.xavier_uniform_(dense.weight)
        self.acoustic.dense = nn.Sequential(Flat(n_flat, config.flat_width), dense)  # type: ignore[assignment]

    def estimate(self, features: Tensor, score: ScoreRolls) -> Tensor:
        """Compute velocities from sound and, where it is informed, ``score.frame``."""
        x = self.norm(features.transpose(1, 2)).transpose(1, 2)
        x = self.unet(x[:, None], score.frame[:, None])
        logits: Tensor = self.acoustic(x[:, 0])
        return torch.sigmoid(logits.float())


def _behind(config: FilmUnetConfig) -> HptConfig:
    """Return the network of Kong et al. of which the part behind the U-net is one column."""
    return HptConfig(
        notes=True,
        pedals=False,
        n_mels=config.n_mels,
        conv_channels=config.conv_channels,
        dense_width=config.dense_width,
        recurrent_width=config.recurrent_width,
        norm_epsilon=config.norm_epsilon,
    )

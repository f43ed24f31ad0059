"""Transkun V2: a transformer that scores every interval of every key and pedal.

Yujia Yan and Zhiyao Duan, "Scoring Time Intervals Using Non-Hierarchical Transformer for
Automatic Piano Transcription", ISMIR 2024.

The answer depends on the whole window (group normalisation, coordinates counted from its
start), so window length is part of the model. Shapes: B windows, T frames, S = T / 8 coarse
steps, K symbols (90), C channels of width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amtcli.decoders.semi_crf import SYMBOLS, Intervals
from amtcli.networks.axial_transformer import CPU_TILE, AxialBlock
from amtcli.networks.interval_scorer import FrameProjection, IntervalScorer, positive_cells
from amtcli.networks.linear import Linear, linear
from amtcli.networks.network import Network

STEP_FRAMES = 8  # frames per coarse step: the stem halves time three times
N_TOKENS = 149  # tokens per coarse step: 58 of the spectrum, an aggregate, 90 symbols
HEAD_DROPOUT = 0.1
SYMBOLS_AT_ONCE = 6  # rows scored together on a CPU; a dozen megabytes at a time


@dataclass(frozen=True)
class TranskunConfig:
    """Sizes of the network."""

    n_input_channels: int
    base_channels: int
    width: int
    n_heads: int
    n_layers: int
    ffn_factor: int
    head_width: int


class CoordinateEmbedding(nn.Module):
    """Coordinates to vectors: learned frequencies, cosine, two layers."""

    def __init__(self, n_coordinates: int, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(n_coordinates, width)
        self.hidden = nn.Linear(width, 4 * width)
        self.output = nn.Linear(4 * width, width)
        nn.init.normal_(self.projection.weight)
        nn.init.uniform_(self.projection.bias, -math.pi, math.pi)

    def forward(self, *axes: Tensor) -> Tensor:
        """Embed the grid spanned by the axes, each (n,): (n_1, ..., n_d, width)."""
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        phase = self.projection(grid)
        waves = torch.cos(phase) / math.sqrt(phase.shape[-1] / 2)
        embedded: Tensor = self.output(F.gelu(self.hidden(waves)))
        return embedded


class Stem(nn.Module):
    """Convolutions from features (B, T, mels, windows) to tokens (B, S, mels / 4, C)."""

    def __init__(self, config: TranskunConfig) -> None:
        super().__init__()
        base, width = config.base_channels, config.width
        self.mel_embedding = CoordinateEmbedding(1, base)
        self.input = nn.Conv2d(config.n_input_channels, base, 3, padding=1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, padding=1, stride=stride)
            for n_in, n_out, stride in (
                (base, 2 * base, (2, 1)),
                (2 * base, width, (2, 2)),
                (width, width, (2, 2)),
                (width, width, (1, 1)),
            )
        )
        self.norms = nn.ModuleList(nn.GroupNorm(4, c) for c in (2 * base, width, width, width))

    def forward(self, features: Tensor) -> Tensor:
        """Run the convolutions; every stage but the last ends in a GELU."""
        mels = torch.arange(features.shape[2], device=features.device).to(features.dtype)
        x = features.permute(0, 3, 1, 2)  # channels last in memory, as the features come
        x = self._padded(self.input(x), self.mel_embedding(mels).T[:, None])
        for stage, (convolve, normalise) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            x = normalise(convolve(x))
            x = F.gelu(x) if stage < len(self.norms) - 1 else x
        return x.permute(0, 2, 3, 1)

    @staticmethod
    def _padded(x: Tensor, shift: Tensor) -> Tensor:
        """Add a shift and zeros around in one pass over what is the largest tensor of all."""
        before, after = STEP_FRAMES // 2, STEP_FRAMES // 2 - 1
        if torch.is_grad_enabled():
            return F.pad(x + shift, (2, 1, before, after))
        n_batch, n_channels, n_frames, n_mels = x.shape
        padded = x.new_zeros(n_batch, n_frames + before + after, 2 + n_mels + 1, n_channels)
        padded = padded.permute(0, 3, 1, 2)  # channels last, as x is
        torch.add(x, shift, out=padded[:, :, before:-after, 2:-1])
        return padded


class IntervalHead(nn.Module):
    """Two layers that read an attribute of an interval off the features at its two ends."""

    def __init__(self, width: int, hidden_width: int, n_out: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * width, hidden_width)
        self.output = nn.Linear(hidden_width, n_out)

    def forward(self, ends: Tensor) -> Tensor:
        """(intervals, 3 width) to (intervals, n_out)."""
        hidden = F.dropout(F.gelu(self.hidden(ends)), HEAD_DROPOUT, self.training)
        attribute: Tensor = self.output(hidden)
        return attribute


@dataclass(frozen=True)
class TranskunOutput:
    """What training compares: of which scores are made, and of given intervals all attributes.

    ``ends`` and ``begins`` are (B, 90, T, C), ``singles`` is (B, 90, T); see ``interval_scorer``.
    ``velocity`` (B, n, 128) and ``refinement`` (B, n, 4) are logits: of the latter the first two
    tell the shifts of both ends, the others whether they lie in the window.
    """

    ends: Tensor
    begins: Tensor
    singles: Tensor
    velocity: Tensor
    refinement: Tensor


class Transkun(Network):
    """Features (B, T, mels, windows) to the positive intervals of each window."""

    def __init__(self, config: TranskunConfig) -> None:
        super().__init__()
        width = config.width
        self.stem = Stem(config)
        self.token_embedding = CoordinateEmbedding(2, width)
        self.symbol_embedding = CoordinateEmbedding(2, width)
        self.blocks = nn.ModuleList(
            AxialBlock(width, config.n_heads, config.ffn_factor) for _ in range(config.n_layers)
        )
        self.frames = FrameProjection(width, STEP_FRAMES)
        self.scorer = IntervalScorer(width)
        self.velocity_head = IntervalHead(width, config.head_width, 128)
        self.refinement_head = IntervalHead(width, config.head_width, 4)
        self._score_maps: list[tuple[Tensor, Tensor]] = []
        self._embeddings: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def prepare(self, precision: str) -> None:
        """Compose the maps that follow one another, put the encoder's products into bf16.

        Scores are scaled by the length of the interval, so they and the heads stay in
        float32: a rounding error in a long note would outweigh a short one.
        """
        self._score_maps = self.scorer.split_maps(self.frames)
        self._embeddings = {}
        for module in self.blocks.modules():
            if isinstance(module, Linear):
                module.to(torch.bfloat16 if precision == "bf16" else torch.float32)
                module.pack(n_rows=CPU_TILE * N_TOKENS)

    def forward(self, features: Tensor, intervals: Tensor) -> TranskunOutput:
        """Compute the makings of all scores, and the attributes of the given intervals.

        ``intervals`` (B, n, 3) are symbol (index into SYMBOLS; below 0: padding), begin and end
        frame. Scores and attributes are computed in float32.
        """
        coarse = self.encode(features)
        with torch.autocast(features.device.type, enabled=False):
            frames = self.frames(coarse.float())[:, :, : features.shape[1]]
            ends, begins, singles = self.scorer(frames)
            symbol, begin, end = intervals.clamp(min=0).unbind(dim=-1)
            window = torch.arange(len(intervals), device=intervals.device)[:, None]
            at_begin, at_end = frames[window, symbol, begin], frames[window, symbol, end]
            attributes = torch.cat([at_begin, at_end, at_begin * at_end], dim=-1)
            velocity, refinement = self.velocity_head(attributes), self.refinement_head(attributes)
        return TranskunOutput(ends, begins, singles, velocity, refinement)

    def activations(self, features: Tensor) -> list[Intervals]:
        """Find the intervals worth considering in each window, with their attributes."""
        coarse = self.encode(features)
        n_frames = features.shape[1]
        return [self._intervals(item, n_frames) for item in coarse]

    def encode(self, features: Tensor) -> Tensor:
        """Features (B, T, mels, windows) to symbols over coarse time (B, K, S, C)."""
        content = self.stem(features)
        content = F.pad(content, (0, 0, 1, 0, 1, 0))  # an aggregation track on either axis
        n_steps, n_columns = content.shape[1:3]
        token_embedding, symbol_embedding = self._embedded(n_steps, n_columns)
        symbols = symbol_embedding.expand(len(content), -1, -1, -1)
        tokens = torch.cat([content + token_embedding, symbols], dim=2)
        for block in self.blocks[:-1]:
            if torch.is_grad_enabled():  # a block's insides take a gigabyte for each window
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        tokens = self.blocks[-1](tokens, first_step=1, first_column=n_columns)
        coarse: Tensor = tokens.transpose(1, 2).contiguous()
        return coarse

    def _embedded(self, n_steps: int, n_columns: int) -> tuple[Tensor, Tensor]:
        """Embeddings of the grid's places; without learning they are kept for each size."""
        size = (n_steps, n_columns)
        if not torch.is_grad_enabled() and size in self._embeddings:
            return self._embeddings[size]
        device = self.frames.bias.device
        steps = torch.arange(n_steps, device=device).float()
        columns = torch.arange(n_columns, device=device).float()
        symbols = torch.tensor(SYMBOLS, device=device).float()
        embedded = self.token_embedding(steps, columns), self.symbol_embedding(steps, symbols)
        if not torch.is_grad_enabled():
            self._embeddings[size] = embedded
        return embedded

    def _intervals(self, coarse: Tensor, n_frames: int) -> Intervals:
        """Score one window (K, S, C) and read the attributes of what scored above silence."""
        symbol, begin, end, score = self._positive_cells(coarse, n_frames)
        at_begin = self.frames.at(coarse, symbol, begin)
        at_end = self.frames.at(coarse, symbol, end)
        ends = torch.cat([at_begin, at_end, at_begin * at_end], dim=-1)
        refinement = self.refinement_head(ends)
        shift = torch.clamp((_continuous_bernoulli_mean(refinement[:, :2]) - 0.5) / 0.99, -0.5, 0.5)
        present = refinement[:, 2:] > 0
        return Intervals(
            symbol=symbol.cpu().numpy(),
            begin=begin.cpu().numpy(),
            end=end.cpu().numpy(),
            score=score.cpu().numpy(),
            velocity=self.velocity_head(ends).argmax(dim=-1).cpu().numpy(),
            onset_shift=shift[:, 0].cpu().numpy(),
            offset_shift=shift[:, 1].cpu().numpy(),
            has_onset=present[:, 0].cpu().numpy(),
            has_offset=present[:, 1].cpu().numpy(),
        )

    def _positive_cells(self, coarse: Tensor, n_frames: int) -> Sequence[Tensor]:
        on_cpu = coarse.device.type == "cpu"
        found = []
        for rows in torch.arange(len(coarse), device=coarse.device).split(
            SYMBOLS_AT_ONCE if on_cpu else len(coarse)
        ):
            ends, begins, singles = (
                linear(coarse[rows], weight, bias).reshape(
                    len(rows), coarse.shape[1] * STEP_FRAMES, -1
                )[:, :n_frames]
                for weight, bias in self._score_maps
            )
            row, *cell = positive_cells(ends, begins, singles[..., 0])
            found.append((rows[row], *cell))
        return [torch.cat(parts) for parts in zip(*found, strict=True)]


def _continuous_bernoulli_mean(logit: Tensor) -> Tensor:
    """Mean of a continuous Bernoulli distribution, by its Taylor series where it is singular."""
    rate = torch.sigmoid(logit)
    near_half = (rate - 0.5).abs() < 0.001
    safe = torch.where(near_half, 0.25, rate)
    mean = safe / (2 * safe - 1) + 1 / (2 * torch.atanh(1 - 2 * safe))
    x = rate - 0.5
    return torch.where(near_half, 0.5 + x / 3 + 16 * x**3 / 45, mean)

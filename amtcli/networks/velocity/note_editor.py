"""A small transformer over the notes of the score, which edits the velocity of each.

Every onset is a token: the velocity heard there, one more feature, and the pitch. Layers attend
over the notes of the window and convolve along their order, and the velocity in the onset's own
frame, no other, moves by ``max_change`` at most.

Three things of the published program are options named "published", for its weights and for
comparison; what stands beside them is what should be trained:

- Its second feature is the value of the frame or exframe roll in the onset's cell. That is 1 or
  0, always, and says nothing. "held" is how long the key is held, from onset to key-up, on a
  scale that ends at 2 s: staccato and legato, and what is a melody's note and what an
  accompaniment's, go with how hard keys are struck.
- It learns a vector for each frame of a window, so that a note is another note where the window
  begins elsewhere. "relative" lets attention depend on the time between two notes instead: a
  learnt bias of each head, on a logarithmic scale of frames, which no cut changes.
- Where windows of a batch have different numbers of notes, its convolutions reach into the
  padding behind the last note, and so the answer depends on the neighbours in the batch. "masked"
  has zeros there.

Shapes: B windows, T frames, K keys, N tokens, D width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.networks.velocity.score import Acoustic, ScoreRolls
from amtcli.notes import N_KEYS

_PUBLISHED_FRAMES = 4096  # for which there are vectors
_FARTHEST = 10  # notes 2 ** 10 frames apart, and farther, are equally far


@dataclass(frozen=True)
class NoteEditorConfig:
    """Sizes, and which feature, positions and padding there are; see the module's docstring.

    ``kernel_tokens`` is odd; ``feature`` "none" leaves the velocity heard as the only one.
    """

    kind: ClassVar[str] = "note_editor"

    width: int
    n_layers: int
    n_heads: int
    kernel_tokens: int
    dropout: float
    max_change: float
    feature: Literal["none", "frame", "exframe", "held"]
    positions: Literal["relative", "published"]
    padding: Literal["masked", "published"]

    def __post_init__(self) -> None:
        if self.width % self.n_heads:
            raise ValueError("width must be a multiple of n_heads")
        if self.kernel_tokens % 2 == 0:
            raise ValueError("kernel_tokens must be odd")


class Tokens(NamedTuple):
    """Where the tokens of a batch are: window, frame and key of each, and its place in a row.

    ``n_rows`` and ``length`` are the shape (B, N) of the rows, padded behind.
    """

    window: Tensor
    frame: Tensor
    key: Tensor
    place: Tensor
    n_rows: int
    length: int

    @classmethod
    def of(cls, onset: Tensor) -> Tokens:
        """Find the onsets of rolls (B, T, K), in the order of frame and key."""
        window, frame, key = (onset > 0.5).nonzero(as_tuple=True)
        counts = torch.bincount(window, minlength=len(onset))
        before = counts.cumsum(0) - counts
        place = torch.arange(len(window), device=onset.device) - before[window]
        # A row of no notes still has one place: every weight gets a gradient in every process.
        return cls(window, frame, key, place, len(onset), max(int(counts.max()), 1))

    def rows(self, values: Tensor) -> Tensor:
        """Values (n, ...) of all tokens as rows (B, N, ...), zeros behind."""
        padded = values.new_zeros(self.n_rows, self.length, *values.shape[1:])
        return padded.index_put((self.window, self.place), values)


class Layer(nn.Module):
    """Attention, a convolution along the tokens and a dense part, each added and normalised."""

    def __init__(self, config: NoteEditorConfig) -> None:
        super().__init__()
        width, kernel = config.width, config.kernel_tokens
        self.attention = nn.MultiheadAttention(
            width, config.n_heads, dropout=config.dropout, batch_first=True
        )
        self.along = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.across = nn.Conv1d(width, width, 1)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor, is_token: Tensor | None) -> Tensor:
        """(B, N, D) to the same; ``bias`` (B * H, N, N) is added to what attention weighs by.

        ``is_token`` (B, N) says what the convolution may hear, None: everything.
        """
        told, _ = self.attention(x, x, x, attn_mask=bias, need_weights=False)
        x = self.norms[0](x + self.dropout(told))
        heard = x if is_token is None else x * is_token[..., None]
        convolved = self.across(self.along(heard.transpose(1, 2))).transpose(1, 2)
        x = self.norms[1](x + self.dropout(convolved))
        dense = self.narrow(self.dropout(F.silu(self.widen(x))))
        result: Tensor = self.norms[2](x + self.dropout(dense))
        return result


class RelativeTime(nn.Module):
    """A bias for each head by the frames between two notes: (B, N) to (B, H, N, N).

    Straight lines between learnt values at 0, 1, 3, 7, ..., 1023 frames before and behind.
    """

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(n_heads, 2 * _FARTHEST + 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Look the biases up."""
        apart = frames[:, None, :] - frames[:, :, None]
        steps = torch.log2(1 + apart.abs()).clamp(max=_FARTHEST)
        position = torch.copysign(steps, apart) + _FARTHEST
        lower = position.floor().clamp(max=2 * _FARTHEST - 1)
        share, index = position - lower, lower.long()
        bias = (1 - share) * self.values[:, index] + share * self.values[:, index + 1]
        return bias.transpose(0, 1)


class NoteEditor(nn.Module):
    """Velocities with those of the score's notes edited."""

    def __init__(self, config: NoteEditorConfig) -> None:
        super().__init__()
        self._config = config
        n_features = 1 if config.feature == "none" else 2
        self.pitch = nn.Embedding(N_KEYS, config.width)
        self.features = nn.Linear(n_features, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.output = nn.Linear(config.width, 1)
        self.time: nn.Module
        if config.positions == "published":
            self.time = nn.Embedding(_PUBLISHED_FRAMES, config.width)
        else:
            self.time = RelativeTime(config.n_heads)

    def forward(self, acoustic: Acoustic, score: ScoreRolls) -> Tensor:
        """Return velocities (B, T, K)."""
        heard = acoustic.velocity
        tokens = Tokens.of(score.onset)
        cells = (tokens.window, tokens.frame, tokens.key)
        embedded = self.features(self._features(heard, score, cells)) + self.pitch(tokens.key)
        if self._config.positions == "published":
            embedded = embedded + self.time(tokens.frame.clamp(max=_PUBLISHED_FRAMES - 1))
        x = tokens.rows(embedded)
        is_token = tokens.rows(torch.ones_like(heard[cells]))
        bias = self._bias(tokens, is_token)
        audible = is_token if self._config.padding == "masked" else None
        for layer in self.layers:
            x = layer(x, bias, audible)
        change = torch.tanh(self.output(x)[..., 0])[tokens.window, tokens.place]
        edited = heard[cells] + self._config.max_change * change
        return heard.index_put(cells, edited.clamp(0, 1))

    def _features(
        self, heard: Tensor, score: ScoreRolls, cells: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Features (n, 1 or 2) of the tokens."""
        name = self._config.feature
        if name == "none":
            return heard[cells][:, None]
        roll = score.held if name == "held" else score.condition(name)
        return torch.stack([heard[cells], roll[cells]], dim=-1)

    def _bias(self, tokens: Tokens, is_token: Tensor) -> Tensor:
        """Keep attention to tokens, and let it know the time; (B * H, N, N)."""
        n_heads = self._config.n_heads
        hears = is_token[:, None, None, :].bool()
        hears = hears | ~hears.any(dim=-1, keepdim=True)  # where there are none, whatever there is
        closed = torch.zeros_like(hears, dtype=is_token.dtype).masked_fill(~hears, -torch.inf)
        length = tokens.length
        bias = closed.expand(-1, n_heads, length, length)
        if self._config.positions == "relative":
            frames = tokens.rows(tokens.frame.to(is_token.dtype))
            bias = bias + cast(Tensor, self.time(frames))
        return bias.flatten(0, 1)

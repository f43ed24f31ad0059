"""Transformer blocks that attend along frequency, then along time, on a grid of tokens.

Yan and Duan (ISMIR 2024), section 3. One trait is easy to miss: queries come from the
normalised running stream, but keys and values of **both** halves are projections of the raw
block input.

On a CPU the work goes tile by tile, so that everything between two passes over the grid stays
in the processor's cache; on other devices one tile is the whole grid. Tiles hold whole rows
of attention, so they change nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.networks.linear import Linear

FIRST_SCALE = 0.01  # of a residual branch that has learnt nothing yet
CPU_TILE = 16  # rows of attention worked on at once: 16 x 149 tokens fit a level-3 cache


class AxialAttention(nn.Module):
    """Multi-head attention with a residual branch scaled per channel (LayerScale)."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = Linear(width, width, bias=False)
        self.key_value = Linear(width, 2 * width, bias=False)
        self.output = Linear(width, width)
        self.scale = nn.Parameter(torch.full((width,), FIRST_SCALE))
        for projection in (self.query.weight, *self.key_value.weight.split(width)):
            nn.init.xavier_uniform_(projection)

    def forward(self, stream: Tensor, context: Tensor) -> Tensor:
        """Update stream (rows, n, width) by what it finds in context (rows, m, width)."""
        normalised = F.rms_norm(stream, stream.shape[-1:], eps=1e-6)
        query = self._heads(self.query(normalised))
        key, value = self.key_value(context).chunk(2, dim=-1)
        found = _attend(query, self._heads(key), self._heads(value))
        branch = self.output(found.transpose(1, 2).flatten(2))
        return torch.addcmul(stream, branch.to(stream.dtype), self.scale)

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.n_heads, -1))
        return heads.transpose(1, 2)  # (rows, heads, n, head width)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention over (rows, heads, n, head width)."""
    if query.device.type != "cpu" or torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value)
    # The fused CPU kernel is slower than three plain products on tiles that fit the cache.
    shape = query.shape
    q, k, v = (x.reshape(-1, *x.shape[2:]) for x in (query, key, value))
    nothing = q.new_empty(1, 1, 1)
    scores = torch.baddbmm(nothing, q, k.transpose(1, 2), beta=0, alpha=shape[-1] ** -0.5)
    torch.softmax(scores, dim=-1, out=scores)  # in place: a second table would leave the cache
    return torch.bmm(scores, v).view(shape)


class FeedForward(nn.Module):
    """Position-wise residual branch: expand, GELU, contract, scale per channel."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.expand = Linear(width, factor * width)
        self.contract = Linear(factor * width, width)
        self.scale = nn.Parameter(torch.full((width,), FIRST_SCALE))

    def forward(self, stream: Tensor) -> Tensor:
        """Update stream (..., width)."""
        normalised = F.rms_norm(stream, stream.shape[-1:], eps=1e-6)
        branch = self.contract(self.expand(normalised, gelu=True))
        return torch.addcmul(stream, branch.to(stream.dtype), self.scale)


class AxialBlock(nn.Module):
    """Attention and feed-forward along frequency, then the same along time."""

    def __init__(self, width: int, n_heads: int, ffn_factor: int) -> None:
        super().__init__()
        self.frequency_attention = AxialAttention(width, n_heads)
        self.frequency_ffn = FeedForward(width, ffn_factor)
        self.time_attention = AxialAttention(width, n_heads)
        self.time_ffn = FeedForward(width, ffn_factor)

    def forward(self, tokens: Tensor, first_step: int = 0, first_column: int = 0) -> Tensor:
        """Transform tokens (batch, steps, columns, width).

        Only steps and columns from the given ones on are computed and returned: what comes
        before serves as keys and values alone. The last block of a network needs no more.
        """
        stream = self._along_frequency(tokens, first_step, first_column)
        return self._along_time(stream, tokens[:, :, first_column:])

    def _along_frequency(self, tokens: Tensor, first_step: int, first_column: int) -> Tensor:
        n_batch, n_steps, n_columns, width = tokens.shape
        shape = (n_batch, n_steps - first_step, n_columns - first_column, width)
        stream = tokens.new_empty(shape)
        for item in range(n_batch):
            for tile in tiles(shape[1], tokens.device):
                context = tokens[item, first_step:][tile]
                rows = self.frequency_attention(context[:, first_column:], context)
                stream[item, tile] = self.frequency_ffn(rows)
        return stream

    def _along_time(self, stream: Tensor, context: Tensor) -> Tensor:
        output = torch.empty_like(stream)
        for item in range(stream.shape[0]):
            for tile in tiles(stream.shape[2], stream.device):
                columns = stream[item, :, tile].transpose(0, 1).contiguous()
                rows = self.time_attention(
                    columns, context[item, :, tile].transpose(0, 1).contiguous()
                )
                output[item, :, tile] = self.time_ffn(rows).transpose(0, 1)
        return output


def tiles(n_rows: int, device: torch.device) -> Iterator[slice]:
    """Cut ``n_rows`` rows of attention into the tiles that suit the device."""
    size = CPU_TILE if device.type == "cpu" else max(n_rows, 1)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))

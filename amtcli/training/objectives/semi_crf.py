"""The likelihood of a neural semi-Markov conditional random field over intervals.

Yan, Cwitkowitz and Duan (NeurIPS 2021), section 3; Yan and Duan (ISMIR 2024). A path is a set of
intervals of one row (a key or a pedal) that do not overlap; its score is the sum of theirs, and
silence scores 0. ``decoders.semi_crf.best_path`` finds the path of the greatest score; here the
scores of all paths are added up.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def interval_scores(ends: Tensor, begins: Tensor, singles: Tensor) -> Tensor:
    """Score every interval: ends and begins (..., T, C), singles (..., T) to (..., end, begin).

    As ``networks.interval_scorer`` does: the length times an inner product, but for intervals of
    one frame. What lies above the diagonal means nothing.
    """
    frame = torch.arange(ends.shape[-2], device=ends.device)
    length = (frame[:, None] - frame).abs().to(ends.dtype)
    products = ends @ begins.transpose(-1, -2) / math.sqrt(ends.shape[-1])
    return products * length + torch.diag_embed(singles)


def log_partition(scores: Tensor) -> Tensor:
    """Logarithm of the sum over all paths of e to their scores: (rows, T, T) to (rows,)."""
    result: Tensor = _LogPartition.apply(scores)  # type: ignore[no-untyped-call]  # torch's
    return result


class _LogPartition(torch.autograd.Function):
    """The forward algorithm; its gradient, the probability of each interval, by the backward one.

    Left to automatic differentiation, T steps of growing tables would all be kept.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        ctx.before = upto = _upto(scores)
        ctx.save_for_backward(scores)
        return upto[:, -1].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (scores,) = ctx.saved_tensors
        upto: Tensor = ctx.before
        # The same from the other end: begins and ends change places.
        onwards = _upto(scores.flip(1, 2).transpose(1, 2)).flip(1)
        total = upto[:, -1, None]
        singles = scores.diagonal(dim1=1, dim2=2)
        probability = scores + onwards[:, :, None]
        probability += (upto - total)[:, None, :]
        probability.exp_().tril_(-1)
        # A single frame is taken or left wherever a path passes by; both sums count it.
        passes = torch.exp(upto + onwards - F.softplus(singles) - total)
        probability += torch.diag_embed(passes * torch.sigmoid(singles))
        result: Tensor = probability * gradient[:, None, None]
        return result


def _upto(scores: Tensor) -> Tensor:
    """Log of the sum over all paths that lead up to each frame, it included: (rows, T)."""
    rows, n_frames, _ = scores.shape
    singles = F.softplus(scores.diagonal(dim1=1, dim2=2))
    upto = scores.new_empty(rows, n_frames)
    upto[:, 0] = singles[:, 0]
    for end in range(1, n_frames):
        taken = torch.logsumexp(upto[:, :end] + scores[:, end, :end], dim=1)
        upto[:, end] = torch.logaddexp(upto[:, end - 1], taken) + singles[:, end]
    return upto

"""From pieces to one number: mean over pieces with its uncertainty, and all notes pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amtcli.evaluation.measures import named_scores, pool_counts, pool_samples
from amtcli.evaluation.piece import PieceScores

N_RESAMPLES = 2000
SEED = 0
CONFIDENCE = 0.95
# A line through the notes of all pieces is not each piece's best line.
NOT_POOLED = ("velocity_mae_fitted", "velocity_all_mae_fitted")


@dataclass(frozen=True)
class Aggregate:
    """One score over ``n`` pieces that have it.

    ``std`` is the sample standard deviation over pieces, ``low`` and ``high`` the 95 %
    bootstrap interval of the mean; all three are ``None`` below two pieces. ``pooled`` takes
    the notes of all pieces as one; ``None`` where that has no meaning.
    """

    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    n: int
    pooled: float | None


def aggregate(pieces: Sequence[PieceScores]) -> dict[str, Aggregate]:
    """Average and pool every score that any piece has; pieces where it is ``None`` stay out."""
    pooled = named_scores(
        pool_counts([piece.counts for piece in pieces]),
        pool_samples([piece.samples for piece in pieces]),
    )
    for name in NOT_POOLED:
        pooled.pop(name, None)
    names = dict.fromkeys(name for piece in pieces for name in piece.scores)
    return {
        name: _aggregate([piece.scores.get(name) for piece in pieces], pooled.get(name))
        for name in names
    }


def _aggregate(values: Sequence[float | None], pooled: float | None) -> Aggregate:
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if len(known) == 0:
        return Aggregate(None, None, None, None, 0, pooled)
    mean = float(np.mean(known))
    if len(known) == 1:
        return Aggregate(mean, None, None, None, 1, pooled)
    low, high = bootstrap_interval(known)
    return Aggregate(mean, float(np.std(known, ddof=1)), low, high, len(known), pooled)


def bootstrap_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of the mean of ``values`` (n,), the same on every call."""
    draws = np.random.default_rng(SEED).integers(len(values), size=(N_RESAMPLES, len(values)))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values[draws].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)

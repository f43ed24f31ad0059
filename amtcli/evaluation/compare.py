"""Is B better than A? Two results on the same pieces, compared piece by piece.

Pieces differ from one another far more than two systems do on one piece, so only paired
differences tell. They are tested by Wilcoxon's signed-rank test, which asks no distribution of
them; each p-value stands alone, so of twenty scores one below 0.05 is no news.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amtcli.errors import NoInputError
from amtcli.evaluation.aggregation import bootstrap_interval
from amtcli.evaluation.results import Document, is_higher_better

# Settings that say what was scored rather than how.
WHAT_WAS_SCORED = frozenset({"model", "device", "precision", "fast", "n_pieces"})
N_NAMED = 5
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Difference:
    """One score on the pieces that both results have: B minus A.

    ``low`` and ``high`` are the 95 % bootstrap interval of the mean difference, ``p`` is
    two-sided; ``None`` below two pieces. ``n_better`` counts pieces on which B is better,
    whichever way this score runs.
    """

    score: str
    n: int
    mean_a: float
    mean_b: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    n_better: int
    n_worse: int


@dataclass(frozen=True)
class Comparison:
    """All differences; the pieces that changed most; and what makes A and B unlike.

    ``improved`` and ``worsened`` give piece and difference of the first score, most first.
    """

    differences: tuple[Difference, ...]
    improved: tuple[tuple[str, float], ...]
    worsened: tuple[tuple[str, float], ...]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    unlike_settings: tuple[str, ...]

    def as_document(self) -> Document:
        """Turn into plain dicts and lists."""
        return asdict(self)


def compare_results(a: Document, b: Document) -> Comparison:
    """Compare every score that both results have on the pieces that both have, F1 first.

    Raises
    ------
    NoInputError
        No piece, or no score of one, is in both.
    """
    pieces_a, pieces_b = ({row["name"]: row for row in d["per_file"]} for d in (a, b))
    common = [name for name in pieces_a if name in pieces_b]
    shared = [name for name in a["aggregate"] if name in b["aggregate"] and _is_compared(name)]
    scores = sorted(shared, key=lambda name: "_f1" not in name)
    differences = [
        _difference(score, values)
        for score in scores
        if len(values := _paired(score, common, pieces_a, pieces_b))
    ]
    if not differences:
        raise NoInputError("the two results have no piece with a score in common")
    first = differences[0].score
    changes = [
        (name, pieces_b[name][first] - pieces_a[name][first])
        for name in common
        if None not in (pieces_a[name][first], pieces_b[name][first])
    ]
    return Comparison(
        tuple(differences),
        tuple(sorted((c for c in changes if c[1] > 0), key=lambda c: -c[1])[:N_NAMED]),
        tuple(sorted((c for c in changes if c[1] < 0), key=lambda c: c[1])[:N_NAMED]),
        tuple(name for name in pieces_a if name not in pieces_b),
        tuple(name for name in pieces_b if name not in pieces_a),
        _unlike_settings(a["settings"], b["settings"]),
    )


def _is_compared(score: str) -> bool:
    if "_of_mean" in score:
        return False  # says of the notes that were found how unlike they are, nothing of estimates
    return is_higher_better(score) or (score.startswith("velocity") and "mae" in score)


def _paired(
    score: str,
    names: Sequence[str],
    pieces_a: dict[str, Document],
    pieces_b: dict[str, Document],
) -> NDArray[np.float64]:
    """(n, 2) values of A and B on the pieces where both have one."""
    values = [(pieces_a[name].get(score), pieces_b[name].get(score)) for name in names]
    return np.array([pair for pair in values if None not in pair], dtype=float).reshape(-1, 2)


def _difference(score: str, values: NDArray[np.float64]) -> Difference:
    from scipy.stats import wilcoxon

    mean_a, mean_b = values.mean(axis=0).tolist()
    change = values[:, 1] - values[:, 0]
    change[np.abs(change) < _ROUNDING] = 0.0
    low = high = p = None
    if len(change) > 1:
        low, high = bootstrap_interval(change)
        # The test is undefined where nothing differs; then nothing speaks for a difference.
        p = float(wilcoxon(change).pvalue) if np.any(change) else 1.0
    better = change if is_higher_better(score) else -change
    n_better, n_worse = int(np.sum(better > 0)), int(np.sum(better < 0))
    return Difference(
        score, len(change), mean_a, mean_b, mean_b - mean_a, low, high, p, n_better, n_worse
    )


def _unlike_settings(a: dict[str, Any], b: dict[str, Any]) -> tuple[str, ...]:
    names = [name for name in dict.fromkeys([*a, *b]) if name not in WHAT_WAS_SCORED]
    return tuple(
        f"{name}: {a.get(name)} and {b.get(name)}" for name in names if a.get(name) != b.get(name)
    )

"""What a piece, or several pooled, amounts to: counts and samples, and the names of the scores.

The same functions turn one piece's counts and samples into its scores and all pieces' counts
and samples into the pooled ones, so the two cannot come to mean different things.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from amtcli.evaluation.beats import Classes, dynamics_scores
from amtcli.evaluation.scores import Counts, pool
from amtcli.evaluation.timing import deviation_statistics
from amtcli.evaluation.velocity import velocity_errors

CountKey = tuple[str, str]  # ("onset_offset", "_100ms"): its F1 is onset_offset_f1_100ms
Scores = dict[str, float | None]

HIGHER_IS_BETTER = ("precision", "recall", "f1", "overlap", "accuracy")


def _no_pairs() -> NDArray[np.float64]:
    return np.zeros((0, 2))


def _no_classes() -> Classes:
    return np.zeros((0, 2), np.int64)


@dataclass(frozen=True)
class Samples:
    """Values per note or beat that are pooled before their statistics are taken.

    ``velocities``: (n, 2), reference and estimate, of notes matched by onset;
    ``all_velocities``: the same of all notes, where the estimate holds the reference's notes;
    ``deviations_s``: (n, 2), onset and offset deviations;
    ``dynamics``: (n, 2), see `compared_dynamics`.
    """

    velocities: NDArray[np.float64] = field(default_factory=_no_pairs)
    all_velocities: NDArray[np.float64] = field(default_factory=_no_pairs)
    deviations_s: NDArray[np.float64] = field(default_factory=_no_pairs)
    dynamics: Classes = field(default_factory=_no_classes)


def pool_counts(pieces: Sequence[Mapping[CountKey, Counts]]) -> dict[CountKey, Counts]:
    """Add the counts of all pieces that have them."""
    keys = list(dict.fromkeys(key for piece in pieces for key in piece))
    return {key: pool(piece[key] for piece in pieces if key in piece) for key in keys}


def pool_samples(pieces: Sequence[Samples]) -> Samples:
    """Put the notes and beats of all pieces together."""
    return Samples(
        np.concatenate([_no_pairs(), *(piece.velocities for piece in pieces)]),
        np.concatenate([_no_pairs(), *(piece.all_velocities for piece in pieces)]),
        np.concatenate([_no_pairs(), *(piece.deviations_s for piece in pieces)]),
        np.concatenate([_no_classes(), *(piece.dynamics for piece in pieces)]),
    )


def named_scores(counts: Mapping[CountKey, Counts], samples: Samples) -> Scores:
    """Every score that follows from counts and samples, by its public name."""
    notes = counts[("onset", "")]
    scores: Scores = {"n_ref_notes": notes.reference, "n_est_notes": notes.estimate}
    for (family, suffix), count in counts.items():
        for measure, value in count.measures().items():
            scores[f"{family}_{measure}{suffix}"] = value
    scores |= _prefixed("velocity", velocity_errors(*samples.velocities.T))
    if len(samples.all_velocities):
        scores |= _prefixed("velocity_all", velocity_errors(*samples.all_velocities.T))
    onset_s, offset_s = samples.deviations_s.T
    scores |= _prefixed("onset_deviation", deviation_statistics(onset_s))
    scores |= _prefixed("offset_deviation", deviation_statistics(offset_s))
    if len(samples.dynamics):
        scores |= _prefixed("dynamics", dynamics_scores(samples.dynamics))
    return scores


def _prefixed(prefix: str, values: Mapping[str, float | None]) -> Scores:
    return {f"{prefix}_{name}": value for name, value in values.items()}

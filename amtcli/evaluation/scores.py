"""Precision, recall and F1 from counts, so that pieces can be averaged or pooled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import mir_eval
import numpy as np

from amtcli.evaluation.matching import Matching
from amtcli.evaluation.note_arrays import NoteArrays


@dataclass(frozen=True)
class Counts:
    """How much of the reference and of the estimate agreed: notes, frames, seconds or moments.

    ``overlap_sum`` is the sum of the overlap ratios of matched notes; ``None`` where matching
    is by frames, whose fourth measure is the accuracy (true positives over their union).
    ``are_moments``: what has no length, as beats, has no fourth measure.
    """

    matched: float
    reference: float
    estimate: float
    overlap_sum: float | None = None
    are_moments: bool = False

    @property
    def precision(self) -> float:
        """Matched share of the estimate; 0 where there is none, as in mir_eval."""
        return self.matched / self.estimate if self.estimate else 0.0

    @property
    def recall(self) -> float:
        """Matched share of the reference; 0 where there is none, as in mir_eval."""
        return self.matched / self.reference if self.reference else 0.0

    def measures(self) -> dict[str, float]:
        """Precision, recall, F1, and overlap (notes) or accuracy (frames), if either."""
        values = {
            "precision": self.precision,
            "recall": self.recall,
            "f1": float(mir_eval.util.f_measure(self.precision, self.recall)),
        }
        if self.overlap_sum is not None:
            values["overlap"] = self.overlap_sum / self.matched if self.matched else 0.0
        elif not self.are_moments:
            union = self.reference + self.estimate - self.matched
            values["accuracy"] = self.matched / union if union else 0.0
        return values


def count_matches(matching: Matching, reference: NoteArrays, estimate: NoteArrays) -> Counts:
    """Count matched notes, with the overlap ratio of each pair as in mir_eval."""
    ref, est = reference.intervals[matching[:, 0]], estimate.intervals[matching[:, 1]]
    common_s = np.minimum(ref[:, 1], est[:, 1]) - np.maximum(ref[:, 0], est[:, 0])
    union_s = np.maximum(ref[:, 1], est[:, 1]) - np.minimum(ref[:, 0], est[:, 0])
    overlap_sum = float(np.sum(common_s / union_s))
    return Counts(len(matching), len(reference), len(estimate), overlap_sum)


def pool(counts: Iterable[Counts]) -> Counts:
    """Add the counts of several pieces."""
    parts = list(counts)
    overlaps = [part.overlap_sum for part in parts if part.overlap_sum is not None]
    return Counts(
        sum(part.matched for part in parts),
        sum(part.reference for part in parts),
        sum(part.estimate for part in parts),
        sum(overlaps) if overlaps else None,
        any(part.are_moments for part in parts),
    )

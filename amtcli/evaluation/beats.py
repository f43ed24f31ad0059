"""Scores of beats, downbeats, dynamics and their changes.

Beats are right within 70 ms, one for one, and those of the first 5 seconds are left out on both
sides: mir_eval's F-measure (Davies et al. 2009), figure for figure. Downbeats are compared by
themselves, and so are the beats at which a new marking begins.

Dynamics are compared on the estimate's beats that match one of the reference, where both sides
know them. The scores in He et al., ICASSP 2026, are another thing: there the network's dynamics
are read at the reference's beats, which whoever has an audio file alone does not know, tolerances
are 80 ms on whole frames, nothing is left out at the beginning, and changes are counted in what
shorter recordings are padded with, too. So their figures cannot be set beside these.
"""

from __future__ import annotations

from collections.abc import Sequence

import mir_eval
import numpy as np
from numpy.typing import NDArray

from amtcli.evaluation.matching import Matching
from amtcli.evaluation.scores import Counts
from amtcli.notes import DYNAMICS, Beat

BEAT_TOLERANCE_S = 0.07
LEFT_OUT_S = 5.0
BEAT_FAMILIES = ("beat", "downbeat", "change", "dynamics")
"""What names of these scores begin with."""

_UNKNOWN = -1

Classes = NDArray[np.int64]  # (n, 2): of the reference and of the estimate, -1 where not known


def count_beats(reference: Sequence[Beat], estimate: Sequence[Beat]) -> dict[str, Counts]:
    """Count what matches of ``beat``, ``downbeat`` and ``change``.

    What the reference has none of, after its first seconds, is not among the counts.
    """
    ref, est = _after_beginning(reference), _after_beginning(estimate)
    sides = {
        "beat": (ref, est),
        "downbeat": ([b for b in ref if b.is_downbeat], [b for b in est if b.is_downbeat]),
        "change": ([b for b in ref if b.is_change], [b for b in est if b.is_change]),
    }
    return {
        family: Counts(len(_match(*both)), len(both[0]), len(both[1]), are_moments=True)
        for family, both in sides.items()
        if both[0]
    }


def compared_dynamics(reference: Sequence[Beat], estimate: Sequence[Beat]) -> Classes:
    """Pair the dynamics of every reference beat that has them with what the estimate says.

    They are indices into DYNAMICS, softest first; -1 where no beat matches, or one without
    dynamics.
    """
    ref, est = _after_beginning(reference), _after_beginning(estimate)
    partners = dict(_match(ref, est).tolist())
    return np.array(
        [
            (_index(beat), _index(est[partners[place]]) if place in partners else _UNKNOWN)
            for place, beat in enumerate(ref)
            if beat.dynamics is not None
        ],
        dtype=np.int64,
    ).reshape(-1, 2)


def dynamics_scores(classes: Classes) -> dict[str, float | None]:
    """Accuracy, and F1 of each class weighted by how often the reference has it.

    Only pairs that are known on both sides count; where none is, both are 0.
    """
    ref, est = classes[classes[:, 1] != _UNKNOWN].T
    if len(ref) == 0:
        return {"accuracy": 0.0, "f1": 0.0}
    n_ref, n_est, n_right = (
        np.bincount(of, minlength=len(DYNAMICS)) for of in (ref, est, ref[ref == est])
    )
    # F1 is 2 right / (reference + estimate); a class that neither has weighs nothing.
    f1 = 2 * n_right / np.maximum(n_ref + n_est, 1)
    return {"accuracy": float(np.mean(ref == est)), "f1": float(np.sum(n_ref * f1) / len(ref))}


def _after_beginning(beats: Sequence[Beat]) -> list[Beat]:
    """Leave out what `mir_eval.beat.trim_beats` does."""
    return [beat for beat in beats if beat.onset_s >= LEFT_OUT_S]


def _match(reference: Sequence[Beat], estimate: Sequence[Beat]) -> Matching:
    ref, est = (np.array([beat.onset_s for beat in side]) for side in (reference, estimate))
    pairs = mir_eval.util.match_events(ref, est, BEAT_TOLERANCE_S)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _index(beat: Beat) -> int:
    return _UNKNOWN if beat.dynamics is None else DYNAMICS.index(beat.dynamics)

"""How far estimated velocities are from the reference, in MIDI velocities.

An error is estimate minus reference, so a positive bias is too loud. No scaling is applied
except in ``mae_fitted``, whose least-squares line takes away what a piece's recording level or
the instrument's touch adds to every note alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amtcli.errors import AmtError
from amtcli.evaluation.matching import Matching
from amtcli.evaluation.note_arrays import NoteArrays

Velocities = NDArray[np.float64]


def velocity_errors(reference: Velocities, estimate: Velocities) -> dict[str, float | None]:
    """Compare velocities of the same notes, both (n,); everything is ``None`` without notes.

    ``mae``, ``std`` and ``bias`` are the mean absolute value, the standard deviation (over n)
    and the mean of the errors; ``r`` is Pearson's correlation, ``None`` where either side is
    constant; ``mae_fitted`` is the mean absolute error after the best line. What gives away a
    regression to the mean: ``mae_of_mean`` is the error of the reference's own mean in place of
    every velocity, ``spread`` the estimate's standard deviation as a share of the reference's
    (``None`` for a constant reference).
    """
    if len(reference) == 0:
        return dict.fromkeys(("mae", "std", "bias", "r", "mae_fitted", "mae_of_mean", "spread"))
    errors = estimate - reference
    varied = np.ptp(reference) > 0 and np.ptp(estimate) > 0
    return {
        "mae": float(np.mean(np.abs(errors))),
        "std": float(np.std(errors)),
        "bias": float(np.mean(errors)),
        "r": float(np.corrcoef(reference, estimate)[0, 1]) if varied else None,
        "mae_fitted": _mae_after_line(reference, estimate),
        "mae_of_mean": float(np.mean(np.abs(reference - reference.mean()))),
        "spread": float(np.std(estimate) / np.std(reference)) if np.ptp(reference) > 0 else None,
    }


def _mae_after_line(reference: Velocities, estimate: Velocities) -> float:
    line = np.vstack([estimate, np.ones(len(estimate))]).T
    slope, intercept = np.linalg.lstsq(line, reference, rcond=None)[0]
    return float(np.mean(np.abs(slope * estimate + intercept - reference)))


def pair_in_order(reference: NoteArrays, estimate: NoteArrays) -> Matching:
    """Pair the k-th note of each key with the k-th note of that key, whatever their times.

    For estimates that hold the reference's own notes: a score whose velocities were estimated.

    Raises
    ------
    AmtError
        A key has more notes on one side than on the other.
    """
    ref = np.lexsort((reference.onsets_s, reference.pitches))
    est = np.lexsort((estimate.onsets_s, estimate.pitches))
    ref_pitches, est_pitches = reference.pitches[ref], estimate.pitches[est]
    if not np.array_equal(ref_pitches, est_pitches):
        counts = [np.bincount(p.astype(int), minlength=128) for p in (ref_pitches, est_pitches)]
        key = int(np.flatnonzero(counts[0] != counts[1])[0])
        raise AmtError(
            f"not the reference's own notes: key {key} has {counts[0][key]} notes in the "
            f"reference and {counts[1][key]} in the estimate; leave out --velocity"
        )
    return np.column_stack([ref, est])

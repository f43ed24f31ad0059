"""Performances without sound, for networks that are told notes and hear nothing.

They lie in a pack as any recording does, so that windows are drawn from them as from any other:
their audio is silence, and its sample rate no more than the clock by which windows are drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amtcli.datasets.labels import Labels
from amtcli.errors import DataError

KIND = "performances"
"""What a pack of performances without sound says it was made of."""

CLOCK_HZ = 1000
"""Samples of silence per second."""

_TAIL_S = 1.0
_LONGEST_S = 24 * 3600.0  # a damaged file may claim years, and all of them would be written


def silence(labels: Labels, sample_rate_hz: int) -> NDArray[np.int16]:
    """Return zeros (n,) until a second after the last note has ceased to sound.

    Raises DataError where there are no notes, more than 24 h of them, or beats after that time.
    """
    if labels.notes is None or not len(labels.notes):
        raise DataError("it has no notes; check the file")
    end_s = float(labels.notes.sounding_end_s.max()) + _TAIL_S
    if end_s > _LONGEST_S:
        raise DataError(f"its notes go on to {end_s / 3600:.0f} h; check the file")
    last_beat_s = 0.0 if labels.beats is None else float(labels.beats.time_s.max())
    if last_beat_s > end_s:
        raise DataError(
            f"its beats go on to {last_beat_s:.1f} s, its notes to {end_s - _TAIL_S:.1f} s; are "
            "they of another performance?"
        )
    return np.zeros(round(end_s * sample_rate_hz), np.int16)

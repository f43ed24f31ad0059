"""Which window of a recording answers for which note of its score.

Windows overlap, so most notes are seen by several of them. The one that answers is the one in
whose middle the note begins, where the network has heard what comes before and after it; the
middles of all windows, each one hop long, cover the recording without a gap. Every other note
that sounds in a window is context there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amtcli.windows import WindowSpec


@dataclass(frozen=True)
class WindowNotes:
    """Places of notes in the score's list: those that a window answers for, and all it sees.

    ``seen`` has them in the order of the list and holds ``answered``.
    """

    answered: NDArray[np.intp]
    seen: NDArray[np.intp]


def assign_notes(
    onsets_samples: NDArray[np.int64],
    offsets_samples: NDArray[np.int64],
    spec: WindowSpec,
    n_samples: int,
) -> list[WindowNotes]:
    """Give each note to exactly one of the windows of a recording of ``n_samples``.

    Onsets and offsets, both (n,), are samples of the recording at the front-end's rate, in any
    order. A note that begins before the recording or after it belongs to the first or the last
    window. A window sees the notes that it answers for and those of which it hears a part.
    """
    n_windows = spec.n_windows(n_samples)
    # The middle of window k begins a margin after the window itself.
    margin_samples = (spec.length_samples - spec.hop_samples) // 2
    owners = (onsets_samples + spec.padding_samples - margin_samples) // spec.hop_samples
    owners = np.clip(owners, 0, n_windows - 1)
    windows = []
    for index in range(n_windows):
        start = spec.start_samples(index)
        answers = owners == index
        hears = (onsets_samples < start + spec.length_samples) & (offsets_samples > start)
        windows.append(WindowNotes(np.flatnonzero(answers), np.flatnonzero(answers | hears)))
    return windows

"""What successive windows answer for, joined into one stream of frames with context around.

A rule that looks a few frames to either side decides the same whether it is given a recording at
once or piece by piece, when each piece comes with the frames that it looks at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from amtcli.windows import WindowSpec, owned_frames


@dataclass(frozen=True, slots=True)
class Stretch:
    """Successive frames of a recording: ``rows`` has ``context_frames`` more at either end."""

    first_frame: int
    context_frames: int
    rows: NDArray[np.float32]  # (frames, columns)

    def __len__(self) -> int:
        return max(len(self.rows) - 2 * self.context_frames, 0)


class FrameStream:
    """Feed it one array per window, in order; it gives out the frames whose context is known.

    The frames of a window are those that ``owned_frames`` says. Where a recording is not padded
    by the whole margin, the first window answers for the rest of its margin as well, as if there
    were nothing to be had before. Beyond the recording there are zeros.
    """

    def __init__(
        self, window: WindowSpec, frame_samples: int, n_columns: int, context_frames: int
    ) -> None:
        margin = (window.length_samples - window.hop_samples) // 2
        self._own = owned_frames(replace(window, padding_samples=margin), frame_samples)
        if window.padding_samples > margin or window.padding_samples % frame_samples:
            raise ValueError(
                f"padding_samples must be whole frames of {frame_samples} samples and at most "
                f"half of the overlap ({margin}), not {window.padding_samples}"
            )
        self._start = window.padding_samples // frame_samples  # of the next window
        self._context = context_frames
        self._rows = np.zeros((context_frames, n_columns), np.float32)
        self._first_frame = 0

    def push(self, rows: NDArray[np.float32] | None) -> Stretch:
        """Take all frames of the next window (frames, columns), or None: nothing but zeros."""
        own = slice(self._start, self._own.stop)
        self._start = self._own.start
        if rows is None:
            return self._extend(np.zeros((own.stop - own.start, self._rows.shape[1]), np.float32))
        return self._extend(rows[own])

    def finish(self) -> Stretch:
        """Return the frames that waited for what comes after them."""
        return self._extend(np.zeros((self._context, self._rows.shape[1]), np.float32))

    def _extend(self, rows: NDArray[np.float32]) -> Stretch:
        stretch = Stretch(self._first_frame, self._context, np.concatenate([self._rows, rows]))
        self._first_frame += len(stretch)
        self._rows = stretch.rows[len(stretch) :]
        return stretch


def whole(rows: NDArray[np.float32], context_frames: int) -> Stretch:
    """Make one stretch of all frames of a recording (frames, columns)."""
    edge = np.zeros((context_frames, rows.shape[1]), np.float32)
    return Stretch(0, context_frames, np.concatenate([edge, rows, edge]))

"""How loud a recording is, and whether its channels cancel each other out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from amtcli.audio.raising import FULLY_RAISED_DB

_CANCELLED_DB = -15.0


class Level:
    """Gathers the peak of what is given out, and its energy beside that of the channels."""

    def __init__(self) -> None:
        self._peak = self._energy = self._given_energy = 0.0

    def add(self, block: NDArray[np.float32], given: NDArray[np.float32]) -> None:
        """Take in a block (samples, channels) and what was made of it (samples, channels)."""
        self._peak = max(self._peak, float(given.max()), -float(given.min()))
        if given is not block:
            self._energy += float(np.vdot(block, block)) / block.shape[1]
            self._given_energy += float(np.vdot(given, given))

    def warnings(self) -> tuple[str, ...]:
        """Say what is likely to spoil a transcription; digital silence is as it should be."""
        if self._given_energy < self._energy * 10 ** (_CANCELLED_DB / 10):
            return ("its channels cancel each other out: one is inverted; give one of them alone",)
        if 0 < self._peak < 10 ** (FULLY_RAISED_DB / 20):
            peak_db = 20 * math.log10(self._peak)
            return (f"very quiet, at most {peak_db:.0f} dB of full scale: notes may be missing",)
        return ()

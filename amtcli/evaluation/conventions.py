"""The choices that two papers may make differently, and that change every score.

They are printed with each report and stored with each result, because a number without them
cannot be compared with anything. The defaults are those of mir_eval on continuous times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from amtcli.errors import UsageError

PitchUnit = Literal["hz", "midi"]
VelocityScale = Literal["midi", "unit"]
PedalExtend = Literal["ref,est", "ref", "none"]

PITCH_TOLERANCE_CENTS = 50.0


@dataclass(frozen=True)
class Conventions:
    """How notes, pedals and velocities are compared.

    ``onset_tolerances_s``: the first names the scores without a suffix, each further one those
    with its milliseconds (``onset_f1_100ms``). An offset may be off by ``offset_min_s`` or by
    ``offset_ratio`` of the reference note's duration, whichever is more.
    ``velocity_tolerance`` counts after the reference is scaled to its own range (scale
    ``midi``) or divided by 128 (scale ``unit``, as the Onsets and Frames scripts do), and after
    the least-squares line of Hawthorne et al. 2018.
    ``pitch_unit`` ``midi`` hands MIDI numbers to a comparison in cents, as some published
    scripts do by mistake: from key 35 up a semitone is then a hit.
    ``grid_s`` scores the notes of a label roll with frames of that length; ``None`` keeps
    continuous times. ``frame_hop_s`` is the frame of the frame scores; 0 weighs exact
    durations. ``score_informed`` says that the estimate holds the reference's own notes, so
    that velocity errors exist for all of them.
    """

    onset_tolerances_s: tuple[float, ...] = (0.05,)
    offset_ratio: float = 0.2
    offset_min_s: float = 0.05
    velocity_tolerance: float = 0.1
    velocity_scale: VelocityScale = "midi"
    pitch_unit: PitchUnit = "hz"
    pedal_extend: PedalExtend = "ref,est"
    pedal_threshold: int = 64
    grid_s: float | None = None
    frame_hop_s: float = 0.01
    score_informed: bool = False

    def __post_init__(self) -> None:
        # Each the right way round: not a number is below nothing.
        if not self.onset_tolerances_s or not all(t > 0 for t in self.onset_tolerances_s):
            raise UsageError("onset tolerances must be above 0 seconds")
        if len(set(self.onset_tolerances_s)) < len(self.onset_tolerances_s):
            raise UsageError("the same onset tolerance is given twice: name each one once")
        if not (0 <= self.offset_ratio < math.inf and 0 <= self.offset_min_s < math.inf):
            raise UsageError("offset ratio and offset minimum are numbers from 0")
        if not 0 < self.velocity_tolerance < math.inf:
            raise UsageError("the velocity tolerance is a number above 0")
        if self.grid_s is not None and not 0 < self.grid_s < math.inf:
            raise UsageError("the grid of a label roll is a frame length above 0 seconds")
        if not 0 <= self.frame_hop_s < math.inf:
            raise UsageError("the frame hop is 0 (exact durations) or a length in seconds")
        if not 1 <= self.pedal_threshold <= 127:
            raise UsageError("the pedal threshold is a controller value from 1 to 127")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What each onset tolerance adds to the names of its scores; nothing for the first."""
        return ("", *(f"_{1000 * t:g}ms" for t in self.onset_tolerances_s[1:]))

    def describe(self) -> list[str]:
        """Say every convention in words, one phrase each."""
        onsets = ", ".join(f"{1000 * t:g}" for t in self.onset_tolerances_s)
        pitch = "Hz" if self.pitch_unit == "hz" else "MIDI numbers (a semitone may be a hit)"
        scale = "of the reference's range" if self.velocity_scale == "midi" else "of 128"
        extended = {
            "ref,est": f"reference and estimate extended (CC64 >= {self.pedal_threshold})",
            "ref": f"reference extended (CC64 >= {self.pedal_threshold})",
            "none": "no note extended",
        }[self.pedal_extend]
        if self.grid_s is None:
            times = "continuous"
            hop = f"every {1000 * self.frame_hop_s:g} ms" if self.frame_hop_s else "exact durations"
        else:
            times = f"label roll of {1000 * self.grid_s:g} ms"
            hop = "those of the label roll"
        return [
            f"onset: within {onsets} ms",
            f"offset: within {1000 * self.offset_min_s:g} ms or "
            f"{100 * self.offset_ratio:g} % of the duration",
            f"velocity: within {self.velocity_tolerance:g} {scale}, after a fitted line",
            f"pitch: within {PITCH_TOLERANCE_CENTS:g} cents in {pitch}",
            f"pedal: {extended}",
            f"times: {times}",
            f"frames: {hop}",
        ]

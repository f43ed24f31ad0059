"""Labels that are ahead of the sound, as those of a real grand piano with distant microphones.

A key's message precedes the hammer's blow, by tens of milliseconds more for soft notes than for
loud ones (W. Goebl, R. Bresin, A. Galembo, "Touch and temporal behavior of grand piano actions",
JASA 118(2), 2005); then sound takes 3 ms for every metre. Rendered recordings know neither.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from amtcli.datasets.labels import BeatLabels, Labels, NoteLabels, PedalLabels
from amtcli.training.augmentation.ranges import (
    Range,
    check_probability,
    check_range,
    draw_between,
    happens,
)

_SPEED_OF_SOUND = 343.0  # metres per second
_LOUDEST = 127


@dataclass(frozen=True)
class LatenessConfig:
    """How far the microphones are, and how late the softest note is beside the loudest."""

    probability: float
    distance_m: Range
    softest_s: Range

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_range("distance_m", self.distance_m, 0.0, 100.0)
        check_range("softest_s", self.softest_s, 0.0, 0.2)


@dataclass(frozen=True)
class Lateness:
    """How much later than its label everything sounds, and a note of velocity 0 beside 127."""

    everything_s: float
    softest_s: float

    def apply(self, labels: Labels) -> Labels:
        """Move labels ahead; a note's end moves as if it had been played at full velocity."""
        return Labels(
            labels.notes and self._earlier_notes(labels.notes),
            labels.pedals and self._earlier_pedals(labels.pedals),
            labels.beats and self._earlier_beats(labels.beats),
        )

    def _earlier_notes(self, notes: NoteLabels) -> NoteLabels:
        softness = 1 - notes.velocity / np.float64(_LOUDEST)
        return replace(
            notes,
            onset_s=notes.onset_s - self.everything_s - self.softest_s * softness,
            offset_s=notes.offset_s - self.everything_s,
            sounding_end_s=notes.sounding_end_s - self.everything_s,
        )

    def _earlier_pedals(self, pedals: PedalLabels) -> PedalLabels:
        return replace(
            pedals,
            onset_s=pedals.onset_s - self.everything_s,
            offset_s=pedals.offset_s - self.everything_s,
        )

    def _earlier_beats(self, beats: BeatLabels) -> BeatLabels:
        return replace(beats, time_s=beats.time_s - self.everything_s)


def draw_lateness(config: LatenessConfig, rng: Generator) -> Lateness | None:
    """Draw a place of the microphones and an action, or none."""
    if not happens(rng, config.probability):
        return None
    distance_m = draw_between(rng, config.distance_m)
    return Lateness(distance_m / _SPEED_OF_SOUND, draw_between(rng, config.softest_s))

"""Which stretch of which recording a window is: a pure function of seed, step and index.

No state and no order: step 1000 can be drawn without the 999 before it, by any process, so
that neither an interruption nor the number of workers changes what a network sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amtcli.datasets.labels import BeatLabels, Labels, NoteLabels, PedalLabels
from amtcli.training.recipe import SamplingConfig


def window_generator(seed: int, step: int, index: int) -> np.random.Generator:
    """Return the source of all that is random about window ``index`` of the batch of ``step``."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, step, index))))


@dataclass(frozen=True)
class Stretch:
    """Where a window begins: a recording by its index, a sample that may be below 0."""

    recording: int
    start_samples: int


class WindowSampler:
    """Draws stretches; a recording comes as often as it has places for a window to begin.

    ``lengths_samples`` holds the length of each recording, at least one.
    """

    def __init__(self, lengths_samples: Sequence[int], config: SamplingConfig) -> None:
        self._config = config
        self._ends = np.cumsum([self._n_starts(length) for length in lengths_samples])

    def draw(self, generator: np.random.Generator) -> Stretch:
        """Draw one of all places where a window may begin."""
        place = int(generator.integers(self._ends[-1]))
        recording = int(np.searchsorted(self._ends, place, side="right"))
        earlier = int(self._ends[recording - 1]) if recording else 0
        config = self._config
        start_samples = (place - earlier) * config.grid_samples - config.overhang_samples
        return Stretch(recording, start_samples)

    def _n_starts(self, length_samples: int) -> int:
        """Count a recording's places; a recording shorter than a window has one."""
        config = self._config
        room = length_samples + 2 * config.overhang_samples - config.length_samples
        return max(-(-room // config.grid_samples) + 1, 1)


def cut_labels(labels: Labels, start_s: float, duration_s: float) -> Labels:
    """Keep what sounds between ``start_s`` and ``duration_s`` later, with ``start_s`` as time 0.

    Times are not clipped: a note may begin before 0 and end after ``duration_s``.
    """
    end_s = start_s + duration_s
    return Labels(
        None if labels.notes is None else _cut_notes(labels.notes, start_s, end_s),
        None if labels.pedals is None else _cut_pedals(labels.pedals, start_s, end_s),
        None if labels.beats is None else _cut_beats(labels.beats, start_s, end_s),
    )


def _cut_notes(notes: NoteLabels, start_s: float, end_s: float) -> NoteLabels:
    last_s = np.maximum(notes.offset_s, notes.sounding_end_s)
    kept = notes.select((notes.onset_s < end_s) & (last_s > start_s))
    return NoteLabels(
        kept.onset_s - start_s,
        kept.offset_s - start_s,
        kept.sounding_end_s - start_s,
        kept.pitch,
        kept.velocity,
    )


def _cut_pedals(pedals: PedalLabels, start_s: float, end_s: float) -> PedalLabels:
    chosen = (pedals.onset_s < end_s) & (pedals.offset_s > start_s)
    return PedalLabels(
        pedals.onset_s[chosen] - start_s,
        pedals.offset_s[chosen] - start_s,
        pedals.controller[chosen],
        pedals.value[chosen],
    )


def _cut_beats(beats: BeatLabels, start_s: float, end_s: float) -> BeatLabels:
    """Keep the beat before the window, too: what is marked there has not just begun."""
    first = max(int(np.searchsorted(beats.time_s, start_s)) - 1, 0)
    own = slice(first, int(np.searchsorted(beats.time_s, end_s)))
    return BeatLabels(beats.time_s[own] - start_s, beats.is_downbeat[own], beats.dynamics[own])

"""What Metre learns: which strikes are beats, and which of these are downbeats.

A strike is the beat that lies next to it, if it lies near. Music is told in other tempi, keys and
dynamics than it was played in, and with the mistakes of a transcription.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amtcli.decoders.score_velocities import ScoreNotes
from amtcli.errors import DataError
from amtcli.networks.network import Network
from amtcli.networks.strikes import N_FEATURES, strikes_of
from amtcli.training.objectives.losses import added_up, cross_entropies, mean_over
from amtcli.training.objectives.objective import Loss, Objective, Targets, WindowLabels
from amtcli.training.objectives.told_notes import generator_of, notes_of_labels
from amtcli.training.score_alteration import ScoreAlterationConfig, alter_score

_HEADS = ("beat", "downbeat")


@dataclass(frozen=True)
class MetreObjectiveConfig:
    """The clock of the windows, what counts as on a beat, and how music is altered.

    tolerance_s: how far a strike may lie from the beat that it is.
    most_strikes: of a window that has more, the first ones are told.
    tempo_spread: deviation of the natural logarithm by which the tempo changes.
    transposition: most semitones up or down.
    velocity_spread: deviation of what is added to all velocities.
    score: mistakes of a transcription.
    """

    sample_rate_hz: int
    hop_samples: int
    tolerance_s: float
    most_strikes: int
    tempo_spread: float
    transposition: int
    velocity_spread: float
    score: ScoreAlterationConfig

    def __post_init__(self) -> None:
        if self.most_strikes < 1:
            raise ValueError(f"most_strikes is {self.most_strikes}: it must be at least 1")
        if min(self.tolerance_s, self.tempo_spread, self.transposition, self.velocity_spread) < 0:
            raise ValueError(
                "tolerance_s, tempo_spread, transposition and velocity_spread cannot be negative"
            )


class MetreObjective(Objective):
    """Cross-entropies of beats and downbeats, averaged over strikes."""

    def __init__(self, config: MetreObjectiveConfig) -> None:
        self._config = config

    def targets(self, window: WindowLabels) -> Targets:
        """Make ``features`` (most_strikes, F), ``n_strikes`` (), and 0 or 1 for each head.

        Raises DataError where the data set does not know both notes and beats.
        """
        config, beats = self._config, window.labels.beats
        if beats is None:
            raise DataError(
                "these targets are made of beats, and the data set knows none: leave it out"
            )
        notes = notes_of_labels(window.labels).struck_within(0.0, window.duration_s)
        generator = generator_of(notes)
        pace = float(np.exp(generator.normal(0, config.tempo_spread)))
        strikes = strikes_of(self._told(notes, pace, generator))
        n = min(len(strikes), config.most_strikes)
        features = np.zeros((config.most_strikes, N_FEATURES), np.float32)
        features[:n] = strikes.features[:n]
        times_s = {"beat": beats.time_s * pace, "downbeat": beats.time_s[beats.is_downbeat] * pace}
        return {
            "features": features,
            "n_strikes": np.array(n, np.int64),
            **{name: self._on(strikes.onset_s[:n], times_s[name]) for name in _HEADS},
        }

    def _told(self, notes: ScoreNotes, pace: float, generator: np.random.Generator) -> ScoreNotes:
        """Draw how the notes of a window are told: times as they are, but ``pace`` as long."""
        config = self._config
        notes = alter_score(notes, config.score, generator)
        semitones = int(generator.integers(-config.transposition, config.transposition + 1))
        louder = generator.normal(0, config.velocity_spread)
        return ScoreNotes(
            notes.onset_s * pace,
            notes.offset_s * pace,
            notes.sounding_end_s * pace,
            notes.pitch + semitones,
            np.rint(notes.velocity + louder).astype(np.int64).clip(1, 127),
        )

    def _on(self, onset_s: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Mark the strikes next to the given times (most_strikes,)."""
        marked = np.zeros(self._config.most_strikes, np.uint8)
        if len(onset_s):
            distance_s = np.abs(onset_s[None, :] - times_s[:, None])
            is_near = distance_s.min(axis=1) <= self._config.tolerance_s
            marked[distance_s.argmin(axis=1)[is_near]] = 1
        return marked

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Compare; of the sound, ``features``, nothing is heard."""
        n_strikes = targets["n_strikes"]
        longest = max(int(n_strikes.max()), 1)
        logits = network(targets["features"][:, :longest], n_strikes)
        is_one = torch.arange(longest, device=features.device) < n_strikes[:, None]
        return added_up(
            {
                name: mean_over(
                    cross_entropies(getattr(logits, name), targets[name][:, :longest]), is_one
                )
                for name in _HEADS
            }
        )

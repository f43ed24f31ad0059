"""Scores that are not quite what was played, for networks that learn to read velocities by them.

A transcription misses notes, finds some that nobody played and times them a little off; a score
that was aligned to a recording is off as a whole. A network that only ever saw the truth beside
the sound would be lost with either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from amtcli.decoders.score_velocities import ScoreNotes

# Where transcriptions find notes that are none: at partials of those played, and on the key
# itself, struck again.
_GHOST_INTERVALS = np.array([-12, 0, 12, 19, 24])
_RESTRUCK_S = (0.05, 0.4)  # how much later
_LONGEST_FACTOR = 4.0


@dataclass(frozen=True)
class ScoreAlterationConfig:
    """What is drawn anew for every window; times in seconds.

    probability: that a window's score is altered at all.
    shift_s: deviation of a shift that all its notes share.
    jitter_s: deviation of each note's own onset.
    length_spread: deviation of the natural logarithm by which each note's length changes.
    missing_share: of its notes that are left out.
    added_share: of notes that nobody played, compared to those played.
    """

    probability: float
    shift_s: float
    jitter_s: float
    length_spread: float
    missing_share: float
    added_share: float

    def __post_init__(self) -> None:
        for name in ("probability", "missing_share", "added_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1")
        if min(self.shift_s, self.jitter_s, self.length_spread) < 0:
            raise ValueError("shift_s, jitter_s and length_spread cannot be negative")


def alter_score(
    notes: ScoreNotes, config: ScoreAlterationConfig, generator: np.random.Generator
) -> ScoreNotes:
    """Draw an altered score, in order of its onsets; added notes have velocity 0."""
    if generator.random() < config.probability:
        kept = notes.select(generator.random(len(notes)) >= config.missing_share)
        n_added = int(generator.binomial(len(notes), config.added_share))
        sources = notes.select(generator.integers(max(len(notes), 1), size=n_added))
        altered = _joined(kept, _ghosts(sources, generator))
        notes = _moved(altered, config, generator)
    return notes.select(np.argsort(notes.onset_s, kind="stable"))


def _ghosts(sources: ScoreNotes, generator: np.random.Generator) -> ScoreNotes:
    """Make notes that nobody played of some that were; those off the keyboard are left out."""
    n = len(sources)
    interval = generator.choice(_GHOST_INTERVALS, n)
    later_s = np.where(interval == 0, generator.uniform(*_RESTRUCK_S, n), 0.0)
    ghosts = ScoreNotes(
        sources.onset_s + later_s,
        sources.offset_s + later_s,
        sources.sounding_end_s + later_s,
        sources.pitch + interval,
        np.zeros(n, np.int64),
    )
    return ghosts.select(ghosts.on_keyboard)


def _moved(
    notes: ScoreNotes, config: ScoreAlterationConfig, generator: np.random.Generator
) -> ScoreNotes:
    """Move onsets, and make notes shorter and longer."""
    shift_s = generator.normal(0, config.shift_s) + generator.normal(0, config.jitter_s, len(notes))
    factor = np.exp(generator.normal(0, config.length_spread, len(notes)))
    factor = factor.clip(1 / _LONGEST_FACTOR, _LONGEST_FACTOR)
    onset_s = notes.onset_s + shift_s
    return replace(
        notes,
        onset_s=onset_s,
        offset_s=onset_s + factor * (notes.offset_s - notes.onset_s),
        sounding_end_s=onset_s + factor * (notes.sounding_end_s - notes.onset_s),
    )


def _joined(first: ScoreNotes, second: ScoreNotes) -> ScoreNotes:
    return ScoreNotes(
        np.concatenate([first.onset_s, second.onset_s]),
        np.concatenate([first.offset_s, second.offset_s]),
        np.concatenate([first.sounding_end_s, second.sounding_end_s]),
        np.concatenate([first.pitch, second.pitch]),
        np.concatenate([first.velocity, second.velocity]),
    )

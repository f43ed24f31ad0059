"""Reading the velocities of a score's notes off recordings: what is asked, and answered."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amtcli.errors import AmtError, ModelError
from amtcli.notes import Performance
from amtcli.reading import Recording

if TYPE_CHECKING:
    from amtcli.model_config import ModelConfig

_UNKNOWN = 64
_VELOCITY_DECODER = "score_velocities"
_BEATS_DECODER = "beats"
_CLOCK = "clock"


@dataclass(frozen=True)
class ScoredRecording:
    """A recording and the notes and pedals of its score, at the times when they are heard.

    The notes are in the order of the score's own list, which is almost that of their onsets; the
    velocities that they carry are the score's.
    """

    recording: Recording
    score: Performance


@dataclass(frozen=True)
class VelocityReading:
    """What became of one recording: a velocity per note in the score's order, or an error.

    ``velocities`` (n,) are on MIDI's scale, neither rounded nor limited; NaN is for a note that
    the recording says nothing of, such as one in digital silence.
    """

    scored: ScoredRecording
    velocities: NDArray[np.float64] | None
    error: AmtError | None
    warnings: tuple[str, ...]
    audio_s: float


def without_velocities(score: Performance) -> Performance:
    """Give all notes of a score the same velocity, that of files that know none."""
    notes = tuple(replace(note, velocity=_UNKNOWN) for note in score.notes)
    return replace(score, notes=notes)


def rewritten(reading: VelocityReading) -> Performance:
    """Return the score with the velocities that were read, rounded, where any were."""
    assert reading.velocities is not None
    score = reading.scored.score
    notes = tuple(
        note if math.isnan(velocity) else replace(note, velocity=min(max(round(velocity), 1), 127))
        for note, velocity in zip(score.notes, reading.velocities.tolist(), strict=True)
    )
    return replace(score, notes=notes)


def check_transcriber(config: ModelConfig) -> None:
    """Raise ModelError for a model that finds no notes itself, as its decoder says."""
    if config.decoder.get("kind") == _VELOCITY_DECODER:
        raise ModelError(
            f"{config.model_id} reads the velocities of a given score and finds no notes itself: "
            "use it with amt refine-velocity"
        )
    if hears_notes(config):
        raise ModelError(
            f"{config.model_id} hears the notes of a transcription and no sound: "
            f"use it with --beats, beside a model that transcribes"
        )


def check_velocity_model(config: ModelConfig) -> None:
    """Raise ModelError for a model that reads no velocities, as its decoder says."""
    kind = config.decoder.get("kind")
    if kind != _VELOCITY_DECODER:
        raise ModelError(
            f"{config.model_id} does not read velocities of a given score (its decoder is "
            f"{kind!r}): name a velocity model"
        )


def check_beat_model(config: ModelConfig) -> None:
    """Raise ModelError for a model that hears no beats, as its decoder says."""
    kind = config.decoder.get("kind")
    if kind != _BEATS_DECODER:
        raise ModelError(
            f"{config.model_id} hears no beats (its decoder is {kind!r}): name a model of beats"
        )


def hears_notes(config: ModelConfig) -> bool:
    """Tell whether a model hears notes in place of sound, as its front-end says."""
    return config.front_end.get("kind") == _CLOCK


def check_note_beats_model(config: ModelConfig) -> None:
    """Raise ModelError for a model that does not hear beats in notes."""
    check_beat_model(config)
    if not hears_notes(config):
        raise ModelError(f"{config.model_id} hears beats in sound, not in notes")

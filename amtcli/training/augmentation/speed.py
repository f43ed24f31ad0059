"""Transposition and tuning by playing a recording faster or slower, and its labels with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import soxr
from numpy.random import Generator
from numpy.typing import NDArray

from amtcli.datasets.labels import BeatLabels, Labels, NoteLabels, PedalLabels
from amtcli.notes import HIGHEST_PITCH, LOWEST_PITCH
from amtcli.training.augmentation.ranges import check_number, check_probability, happens


@dataclass(frozen=True)
class SpeedConfig:
    """Whole semitones from ``-transpose_semitones`` to ``+transpose_semitones``, and cents."""

    probability: float
    transpose_semitones: int
    detune_cents: float

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_number("transpose_semitones", self.transpose_semitones, 0, 12)
        # Beyond a quarter of a tone the label would be nearer to the neighbouring key.
        check_number("detune_cents", self.detune_cents, 0, 49)


def draw_speed(config: SpeedConfig, rng: Generator) -> float:
    """Draw how much faster than recorded a window is played; 1.0 leaves it alone."""
    if not happens(rng, config.probability):
        return 1.0
    semitones = int(rng.integers(-config.transpose_semitones, config.transpose_semitones + 1))
    cents = float(rng.uniform(-config.detune_cents, config.detune_cents))
    return float(2.0 ** ((semitones + cents / 100) / 12))


def source_samples(n_samples: int, speed: float) -> int:
    """Count the samples of the recording that make ``n_samples`` at ``speed``."""
    return math.ceil(n_samples * speed)


def change_speed(audio: NDArray[np.float32], speed: float, n_samples: int) -> NDArray[np.float32]:
    """Resample so that sample ``n`` of the result is what ``n * speed`` was, without delay."""
    if speed == 1.0:
        return audio
    faster: NDArray[np.float32] = soxr.resample(audio, speed, 1.0)[:n_samples]
    # soxr rounds the length, to one sample less at times.
    return np.pad(faster, (0, n_samples - len(faster)))


def change_label_speed(labels: Labels, speed: float) -> Labels:
    """Move labels as `change_speed` moves sounds.

    Notes that leave the piano (21 to 108) have no label any more, though they still sound.
    """
    if speed == 1.0:
        return labels
    return Labels(
        labels.notes and _faster_notes(labels.notes, speed),
        labels.pedals and _faster_pedals(labels.pedals, speed),
        labels.beats and _faster_beats(labels.beats, speed),
    )


def _faster_notes(notes: NoteLabels, speed: float) -> NoteLabels:
    semitones = round(12 * math.log2(speed))
    pitch = (notes.pitch + semitones).astype(notes.pitch.dtype)
    moved = NoteLabels(
        notes.onset_s / speed,
        notes.offset_s / speed,
        notes.sounding_end_s / speed,
        pitch,
        notes.velocity,
    )
    return moved.select((pitch >= LOWEST_PITCH) & (pitch <= HIGHEST_PITCH))


def _faster_pedals(pedals: PedalLabels, speed: float) -> PedalLabels:
    return replace(pedals, onset_s=pedals.onset_s / speed, offset_s=pedals.offset_s / speed)


def _faster_beats(beats: BeatLabels, speed: float) -> BeatLabels:
    return replace(beats, time_s=beats.time_s / speed)

"""How one window is altered: drawn once, then applied to its audio and to its labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from amtcli.datasets.labels import Labels
from amtcli.training.augmentation.band_masks import BandMask, BandMasksConfig, draw_band_masks
from amtcli.training.augmentation.equaliser import Equaliser, EqualiserConfig, draw_equaliser
from amtcli.training.augmentation.lateness import Lateness, LatenessConfig, draw_lateness
from amtcli.training.augmentation.noise import Noise, NoiseConfig, draw_noise
from amtcli.training.augmentation.ranges import (
    Range,
    check_probability,
    check_range,
    decibels_to_gain,
    draw_between,
    happens,
)
from amtcli.training.augmentation.recorder import Recorder, RecorderConfig, draw_recorder
from amtcli.training.augmentation.room import Room, RoomConfig, draw_room
from amtcli.training.augmentation.speed import (
    SpeedConfig,
    change_label_speed,
    change_speed,
    draw_speed,
    source_samples,
)

_RINGING_S = 0.1


@dataclass(frozen=True)
class GainConfig:
    """A change of level within ``gain_db``."""

    probability: float
    gain_db: Range

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_range("gain_db", self.gain_db, -80.0, 80.0)


@dataclass(frozen=True)
class AugmentationConfig:
    """A recipe's ``[augmentation]`` table; a part whose probability is 0 does nothing."""

    speed: SpeedConfig
    band_masks: BandMasksConfig
    room: RoomConfig
    equaliser: EqualiserConfig
    noise: NoiseConfig
    recorder: RecorderConfig
    gain: GainConfig
    lateness: LatenessConfig


@dataclass(frozen=True)
class Alteration:
    """What is done to a window of ``n_samples``, in the order of the fields from ``speed`` on.

    But the treble that the recorder does not hear is taken away with room and equaliser: noise
    has all of its own. ``speed`` is how much faster than recorded the window is played. None and
    0 do nothing.
    """

    n_samples: int
    speed: float = 1.0
    band_masks: tuple[BandMask, ...] = ()
    room: Room | None = None
    equaliser: Equaliser | None = None
    noise: Noise | None = None
    recorder: Recorder | None = None
    gain_db: float = 0.0
    lateness: Lateness | None = None

    def source_samples(self, n_samples: int) -> int:
        """Count the samples of the recording that ``n_samples`` of the window are made from."""
        return source_samples(n_samples, self.speed)


def draw_alteration(
    config: AugmentationConfig, rng: Generator, n_samples: int, sample_rate_hz: int
) -> Alteration:
    """Draw how a window of ``n_samples`` is altered; the same ``rng`` gives the same alteration.

    Each part has a random stream of its own: a change to one part's configuration leaves what
    is drawn for the others as it was.
    """
    seeds = rng.integers(2**63, size=8)
    streams = map(np.random.default_rng, seeds)
    speed, masks, room, equaliser, noise, recorder, gain, lateness = streams
    return Alteration(
        n_samples,
        draw_speed(config.speed, speed),
        draw_band_masks(config.band_masks, masks, n_samples, sample_rate_hz),
        draw_room(config.room, room),
        draw_equaliser(config.equaliser, equaliser, sample_rate_hz),
        draw_noise(config.noise, noise),
        draw_recorder(config.recorder, recorder),
        _draw_gain_db(config.gain, gain),
        draw_lateness(config.lateness, lateness),
    )


def _draw_gain_db(config: GainConfig, rng: Generator) -> float:
    return draw_between(rng, config.gain_db) if happens(rng, config.probability) else 0.0


def apply_to_audio(
    alteration: Alteration, audio: NDArray[np.float32], sample_rate_hz: int
) -> NDArray[np.float32]:
    """Alter the ``alteration.source_samples(alteration.n_samples)`` samples of a window.

    Returns (n_samples,), in which nothing is later or earlier than `apply_to_labels` says, but
    for lateness, which is in the labels alone; it may go beyond -1 to 1. Without any part, it is
    the audio that was given.
    """
    audio = change_speed(audio, alteration.speed, alteration.n_samples)
    for mask in alteration.band_masks:
        audio = mask.apply(audio, sample_rate_hz)
    audio = _filter(alteration, audio, sample_rate_hz)
    if alteration.noise:
        audio = alteration.noise.apply(audio, sample_rate_hz)
    if alteration.recorder:
        audio = alteration.recorder.distort(audio, sample_rate_hz)
    if alteration.gain_db:
        audio = audio * np.float32(decibels_to_gain(alteration.gain_db))
    return audio


def apply_to_labels(alteration: Alteration, labels: Labels) -> Labels:
    """Alter labels, whose time 0 is the window's first sample, as the audio is altered.

    Notes that are transposed beyond 21 to 108 are dropped, though they still sound.
    """
    labels = change_label_speed(labels, alteration.speed)
    return alteration.lateness.apply(labels) if alteration.lateness else labels


def _filter(
    alteration: Alteration, audio: NDArray[np.float32], sample_rate_hz: int
) -> NDArray[np.float32]:
    """All that is linear and steady, in one pass through the frequency domain."""
    room = alteration.room.impulse_response(sample_rate_hz) if alteration.room else None
    shapes = [part for part in (alteration.equaliser, alteration.recorder) if part]
    if room is None and not shapes:
        return audio
    n_ringing = round(_RINGING_S * sample_rate_hz) + (0 if room is None else len(room))
    n_fft = next_fast_len(len(audio) + n_ringing, real=True)
    spectrum = rfft(audio, n_fft)
    if room is not None:
        spectrum *= rfft(room, n_fft)
    for shape in shapes:
        spectrum *= shape.response(n_fft, sample_rate_hz)
    filtered: NDArray[np.float32] = irfft(spectrum, n_fft)[: len(audio)]
    return filtered

"""Whole recordings placed somewhere: what rendered sound lacks of a room and a microphone."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from amtcli.training.augmentation.alteration import (
    AugmentationConfig,
    GainConfig,
    apply_to_audio,
    draw_alteration,
)
from amtcli.training.augmentation.band_masks import BandMasksConfig
from amtcli.training.augmentation.equaliser import EqualiserConfig
from amtcli.training.augmentation.lateness import LatenessConfig
from amtcli.training.augmentation.noise import NoiseConfig
from amtcli.training.augmentation.recorder import RecorderConfig
from amtcli.training.augmentation.room import RoomConfig
from amtcli.training.augmentation.speed import SpeedConfig

SURROUNDINGS = AugmentationConfig(
    speed=SpeedConfig(probability=0.0, transpose_semitones=0, detune_cents=0.0),
    band_masks=BandMasksConfig(0.0, 1, (0.0, 0.0), (0.0, 0.0)),
    room=RoomConfig(probability=0.8, decay_s=(0.25, 1.4), direct_to_reverberant_db=(-4.0, 12.0)),
    equaliser=EqualiserConfig(probability=0.8, rms_db=3.0, n_points=9, tilt_db_per_octave=0.7),
    noise=NoiseConfig(probability=0.9, snr_db=(30.0, 60.0), exponent=(0.0, 2.0)),
    recorder=RecorderConfig(
        probability=0.15,
        low_pass_hz=(4000.0, 12_000.0),
        compression_ratio=(1.0, 2.0),
        drive_db=(-20.0, 0.0),
    ),
    gain=GainConfig(probability=0.0, gain_db=(0.0, 0.0)),
    lateness=LatenessConfig(probability=0.0, distance_m=(0.0, 0.0), softest_s=(0.0, 0.0)),
)
"""What `place_somewhere` draws from."""


def place_somewhere(
    audio: NDArray[np.float32], sample_rate_hz: int, rng: Generator
) -> NDArray[np.float32]:
    """Give a dry recording (n,) a room, a microphone and noise, and leave its times alone."""
    alteration = draw_alteration(SURROUNDINGS, rng, len(audio), sample_rate_hz)
    return apply_to_audio(alteration, audio, sample_rate_hz)

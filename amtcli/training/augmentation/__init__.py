"""Augmentation: how a window is altered is drawn from a seed, apart from doing it.

A recipe's tables, here with every part; a part's probability of 0 switches it off::

    [augmentation]
    speed = { probability = 1.0, transpose_semitones = 2, detune_cents = 20.0 }
    room = { probability = 0.6, decay_s = [0.25, 1.4], direct_to_reverberant_db = [-6.0, 10.0] }
    equaliser = { probability = 0.8, rms_db = 5.0, n_points = 9, tilt_db_per_octave = 1.0 }
    noise = { probability = 0.6, snr_db = [28.0, 55.0], exponent = [0.0, 2.0] }
    gain = { probability = 1.0, gain_db = [-10.0, 10.0] }
    lateness = { probability = 0.7, distance_m = [0.5, 7.0], softest_s = [0.0, 0.04] }

    [augmentation.band_masks]
    probability = 0.3
    n_masks = 2
    width_octaves = [0.3, 1.0]
    duration_s = [0.5, 2.0]

    [augmentation.recorder]
    probability = 0.2
    low_pass_hz = [3500.0, 8000.0]
    compression_ratio = [1.0, 3.0]
    drive_db = [-20.0, 3.0]
"""

from amtcli.training.augmentation.alteration import (
    Alteration,
    AugmentationConfig,
    apply_to_audio,
    apply_to_labels,
    draw_alteration,
)

__all__ = [
    "Alteration",
    "AugmentationConfig",
    "apply_to_audio",
    "apply_to_labels",
    "draw_alteration",
]

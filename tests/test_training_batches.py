"""Batches: what a window holds, and whose share of a step it is."""

from pathlib import Path

import numpy as np
import pytest
import toy_training as toy

from amtcli.tables import from_table
from amtcli.training.augmentation import AugmentationConfig
from amtcli.training.batches import Share, WindowMaker
from amtcli.training.feeding import feed
from amtcli.training.recipe import SamplingConfig
from amtcli.training.sampling import WindowSampler, window_generator

OFF = {
    "speed": {"probability": 0.0, "transpose_semitones": 2, "detune_cents": 20.0},
    "room": {
        "probability": 0.0,
        "decay_s": [0.25, 1.4],
        "direct_to_reverberant_db": [-6.0, 10.0],
    },
    "equaliser": {"probability": 0.0, "rms_db": 5.0, "n_points": 9, "tilt_db_per_octave": 1.0},
    "noise": {"probability": 0.0, "snr_db": [28.0, 55.0], "exponent": [0.0, 2.0]},
    "gain": {"probability": 0.0, "gain_db": [-10.0, 10.0]},
    "band_masks": {
        "probability": 0.0,
        "n_masks": 2,
        "width_octaves": [0.3, 1.0],
        "duration_s": [0.5, 2.0],
    },
    "recorder": {
        "probability": 0.0,
        "low_pass_hz": [3500.0, 8000.0],
        "compression_ratio": [1.0, 3.0],
        "drive_db": [-20.0, 3.0],
    },
    "lateness": {"probability": 0.0, "distance_m": [1.0, 5.0], "softest_s": [0.0, 0.03]},
}
SAMPLING = SamplingConfig(toy.LENGTH_SAMPLES, 1, 100)


def augmentation(**parts):
    table = {name: part | parts.get(name, {}) for name, part in OFF.items()}
    return from_table(AugmentationConfig, table, "augmentation", Path("toy.toml"))


@pytest.fixture
def recordings(tmp_path):
    return toy.write_pack(tmp_path / "pack").split("train")


def maker(recordings, config=None, seed=7):
    return WindowMaker(
        recordings, toy.ToyObjective(toy.ToyObjectiveConfig(False)), SAMPLING, config, seed
    )


def taken(recordings, share, *, steps=range(3), **others):
    return list(feed(maker(recordings, **others), share, steps, 0))


def test_a_window_is_the_stretch_that_was_drawn_and_its_notes(recordings):
    samples, targets, name = maker(recordings).make(5, 2)
    sampler = WindowSampler([r.n_samples for r in recordings], SAMPLING)
    stretch = sampler.draw(window_generator(7, 5, 2))
    recording = recordings[stretch.recording]
    assert name == recording.name
    audio = recording.read_audio(0, recording.n_samples)
    padded = np.pad(audio, 500)
    start = stretch.start_samples + 500
    np.testing.assert_array_equal(samples, padded[start : start + toy.LENGTH_SAMPLES])
    notes = recording.read_labels().notes
    for frame in range(toy.LENGTH_SAMPLES // toy.HOP_SAMPLES):
        middle_s = (stretch.start_samples + (frame + 0.5) * toy.HOP_SAMPLES) / toy.RATE_HZ
        sounding = notes.pitch[(notes.onset_s < middle_s) & (notes.offset_s > middle_s)]
        assert (targets["frames"][frame].nonzero()[0] + 21).tolist() == sounding.tolist()


def test_parts_and_processes_share_the_same_windows(recordings):
    (whole,) = taken(recordings, Share(8, 1, 0, 1), steps=range(4, 5))
    parts = [taken(recordings, Share(2, 2, process, 2), steps=range(4, 5)) for process in range(2)]
    in_order = [parts[process][part] for part in range(2) for process in range(2)]
    np.testing.assert_array_equal(whole.inputs, np.concatenate([b.inputs for b in in_order]))
    frames = np.concatenate([b.targets["frames"] for b in in_order])
    np.testing.assert_array_equal(whole.targets["frames"], frames)


def test_another_seed_draws_other_windows(recordings):
    one, other = (taken(recordings, Share(4, 1, 0, 1), seed=seed)[0] for seed in (1, 2))
    assert (one.inputs != other.inputs).mean() > 0.9


def test_augmentation_without_any_part_is_none(recordings):
    plain, off = (maker(recordings, config).make(1, 0) for config in (None, augmentation()))
    # The stretch is drawn first, so the draws of the alteration do not move it.
    np.testing.assert_allclose(plain[0], off[0], atol=1e-6)
    np.testing.assert_array_equal(plain[1]["frames"], off[1]["frames"])


def test_pitches_move_with_the_speed(recordings):
    speed = {"probability": 1.0, "transpose_semitones": 3, "detune_cents": 0.0}
    altered = maker(recordings, augmentation(speed=speed))
    plain = maker(recordings)
    moves = set()
    for step in range(30):
        before, after = (m.make(step, 0)[1]["frames"].any(axis=0) for m in (plain, altered))
        keys, moved = before.nonzero()[0], after.nonzero()[0]
        if len(keys) == len(moved):
            moves |= set((moved - keys).tolist())
    assert {-3, -2, 2, 3} <= moves <= set(range(-15, 16))

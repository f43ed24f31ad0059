"""Rendered recordings in a room: something is added, nothing is moved."""

import numpy as np

from amtcli.training.augmentation.surroundings import place_somewhere

RATE_HZ = 16_000


def place(audio, seed):
    return place_somewhere(audio, RATE_HZ, np.random.default_rng(seed))


def test_sounds_begin_when_they_did():
    clicks = np.zeros(4 * RATE_HZ, np.float32)
    times = [8_000, 30_001, 50_000]
    clicks[times] = [0.9, 0.5, 0.7]
    for seed in range(12):
        placed = np.abs(place(clicks, seed))
        assert placed.shape == clicks.shape and placed.dtype == np.float32
        for at in times:
            assert np.argmax(placed[at - 4000 : at + 4000]) == 4000


def test_places_differ_and_repeat():
    music = np.random.default_rng(0).standard_normal(RATE_HZ, dtype=np.float32) * np.float32(0.1)
    placed = [place(music, seed) for seed in (1, 1, 2)]
    assert placed[0].tobytes() == placed[1].tobytes()
    assert np.abs(placed[0] - placed[2]).max() > 0.01

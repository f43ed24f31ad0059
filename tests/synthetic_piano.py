"""Music by rule and its sound by a few partials, for tests that must know every onset."""

import numpy as np

RATE_HZ = 16_000
N_PARTIALS = 6
CHORDS = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))


def piece(duration_s, seed=0):
    """Onsets, offsets (s) and pitches of a melody over broken chords, four seconds each."""
    rng = np.random.default_rng(seed)
    onsets_s, pitches = [], []
    key = 48 + seed % 12
    time_s = 0.5
    while time_s < duration_s - 1:
        chord = CHORDS[int(time_s / 4 + seed) % len(CHORDS)]
        pitch = key + chord[rng.integers(3)] + 12 * rng.integers(0, 3)
        onsets_s.append(time_s)
        pitches.append(pitch)
        if rng.random() < 0.2:  # two at once
            onsets_s.append(time_s)
            pitches.append(pitch + 12)
        time_s += rng.choice([0.15, 0.3, 0.3, 0.45, 0.6])
    onsets_s = np.array(onsets_s)
    return onsets_s, onsets_s + 0.3, np.array(pitches)


def sound(onsets_s, pitches, duration_s, seed=0, *, held_s=1.0, fading_per_s=3.0):
    """Samples (n,): partials that fade, over a little noise."""
    rng = np.random.default_rng(seed)
    samples = 1e-4 * rng.standard_normal(round(duration_s * RATE_HZ))
    for onset_s, pitch in zip(onsets_s, pitches, strict=True):
        first = round(onset_s * RATE_HZ)
        times_s = np.arange(min(round(held_s * RATE_HZ), len(samples) - first)) / RATE_HZ
        frequency_hz = 440 * 2 ** ((pitch - 69) / 12)
        level = (
            rng.uniform(0.05, 0.2)
            * np.minimum(1, times_s / 0.004)
            * np.exp(-fading_per_s * times_s)
        )
        for partial in range(1, N_PARTIALS + 1):
            if partial * frequency_hz < RATE_HZ / 2:
                wave = np.sin(2 * np.pi * partial * frequency_hz * times_s)
                samples[first : first + len(times_s)] += level / partial * wave
    return samples.astype(np.float32)

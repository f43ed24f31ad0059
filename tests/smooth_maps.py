"""Values in 0-1 that rise and fall smoothly, as a network's do, made from a seed."""

import numpy as np


def smooth_maps(seed, n_frames, n_columns, width_frames):
    """Noise averaged over time and stretched; nothing happens in the first and last frames."""
    random = np.random.RandomState(seed)
    noise = random.standard_normal((n_frames, n_columns))
    for _ in range(2):
        sums = np.cumsum(np.pad(noise, ((width_frames, 0), (0, 0)), mode="wrap"), axis=0)
        noise = (sums[width_frames:] - sums[:-width_frames]) / width_frames
    values = 1 / (1 + np.exp(-3 * noise / noise.std()))
    fade = np.clip((np.minimum(np.arange(n_frames), np.arange(n_frames)[::-1]) - 8) / 8, 0, 1)
    return (values * fade[:, None]).astype(np.float32)

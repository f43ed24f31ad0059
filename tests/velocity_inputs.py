"""Features, scores and logits that follow from a rule, for the networks that hear velocities."""

import numpy as np
import torch

N_FRAMES = 27  # a multiple of 3 * 9, and odd


def features(n_windows, n_bins, n_frames=N_FRAMES):
    """Decibels as of a spectrogram, (windows, frames, bins)."""
    random = np.random.RandomState(n_bins)
    levels = 20 * random.standard_normal((n_windows, n_frames, n_bins)) - 40
    return torch.from_numpy(levels.astype(np.float32))


def logits(n_windows, n_frames=N_FRAMES):
    """What a branch may have heard, (windows, frames, 88)."""
    random = np.random.RandomState(1)
    return torch.from_numpy(random.uniform(-3, 3, (n_windows, n_frames, 88)).astype(np.float32))


def rolls(n_windows, n_frames=N_FRAMES):
    """Onset and frame rolls (windows, frames, 88) of 0 and 1; later windows have fewer notes."""
    random = np.random.RandomState(2)
    places = random.rand(n_windows, n_frames, 88)
    share = 0.02 / (1 + np.arange(n_windows))
    onset = (places < share[:, None, None]).astype(np.float32)
    frame = np.maximum(onset, random.rand(*onset.shape) < 0.1).astype(np.float32)
    return torch.from_numpy(onset), torch.from_numpy(frame)

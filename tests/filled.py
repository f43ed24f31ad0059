"""Weights and audio that follow from a rule, so that tests need to store only what comes out."""

import zlib

import numpy as np
import torch
from torch import nn


def filled(name, shape):
    """The tensor that a name and a shape stand for; numpy never changes what RandomState gives."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    values = random.standard_normal(shape)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        values = 0.5 + np.abs(values)
    elif len(shape) == 1:
        values = 0.2 * values + name.endswith("weight")
    else:
        values *= 1.5 / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, np.float32))


def filled_state(shapes):
    """Fill a state dict, given as a mapping of names to shapes."""
    return {name: filled(name, tuple(shape)) for name, shape in shapes.items()}


def as_module(state):
    """A module whose state dict is ``state``, to be pickled whole."""
    root = nn.Module()
    for name, tensor in state.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        module.register_buffer(leaf, tensor)
    return root


def audio(n_samples):
    """Bursts of noise and of tones at 16 kHz, as loud as recordings are."""
    random = np.random.RandomState(0)
    time_s = np.arange(n_samples) / 16000
    tones = sum(np.sin(2 * np.pi * f * time_s) for f in (220.0, 277.2, 1318.5))
    envelope = np.exp(-6 * (time_s % 0.25)) * (time_s % 1.0 < 0.8)
    noise = 0.2 * random.standard_normal(n_samples)
    return (0.2 * envelope * (tones + noise) + 0.01 * noise).clip(-1, 1).astype(np.float32)


def random_maps(n_frames=120):
    """Probabilities that cross their thresholds often enough for notes of all kinds."""
    random = np.random.RandomState(1)
    onset = (random.rand(n_frames, 88) * (random.rand(n_frames, 88) < 0.25)).astype(np.float32)
    held = np.repeat(random.rand(n_frames // 6, 88), 6, axis=0)
    frame = (0.8 * held + 0.2 * random.rand(n_frames, 88)).astype(np.float32)
    return onset, frame, random.rand(n_frames, 88).astype(np.float32)

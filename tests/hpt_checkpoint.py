"""A checkpoint as Kong et al. publish it, with weights by rule, and what their code says to it."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from filled import filled

_SIZE = 2048


@cache
def stored():
    with np.load(Path(__file__).parent / "data" / "parity" / "hpt.npz") as file:
        return dict(file)


def shapes():
    """Names and shapes of all tensors, {"note_model": …, "pedal_model": …}."""
    return json.loads(str(stored()["shapes"]))


def fourier_basis():
    """Windowed cosines and sines, (1025, 1, 2048) each, as torchlibrosa lays them out."""
    turns = np.outer(np.arange(_SIZE // 2 + 1), np.arange(_SIZE)) % _SIZE / _SIZE
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_SIZE) / _SIZE)
    basis = np.exp(-2j * np.pi * turns) * hann
    return [torch.tensor(part, dtype=torch.float32)[:, None] for part in (basis.real, basis.imag)]


def constants():
    """The front-end's tensors; the filters are held to theirs by the mels that they give."""
    from amtcli.checkpoints.hpt import FRONT_END
    from amtcli.front_ends.log_mel import mel_filters

    real, imaginary = fourier_basis()
    return {
        "spectrogram_extractor.stft.conv_real.weight": real,
        "spectrogram_extractor.stft.conv_imag.weight": imaginary,
        "logmel_extractor.melW": mel_filters(FRONT_END),
    }


def published():
    """The dictionary that the published file holds."""
    fixed = constants()
    return {
        "model": {
            part: {
                name: fixed[name] if name in fixed else filled(f"{part}.{name}", tuple(shape))
                for name, shape in names.items()
            }
            for part, names in shapes().items()
        }
    }

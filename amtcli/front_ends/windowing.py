"""The window that front-ends cut frames with, the same in every run, and spectra of frames."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def hann(length: int) -> Tensor:
    """Return a periodic Hann window (length,), float64.

    By NumPy: the first cosine that PyTorch computes on several threads of a process is now and
    then another one in the last place, and with it notes would differ from run to run.
    """
    return torch.from_numpy(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))


def power_spectra(windows: Sequence[Tensor], shape: Tensor, hop_samples: int) -> Tensor:
    """Return the power of each frame's bins (batch, frames, len(shape) // 2 + 1).

    ``windows`` are (1, samples) each and equally long; frames, weighed by ``shape``, are centred
    ``hop_samples`` apart from the first sample on. Beyond the edges the audio is mirrored.
    """
    spectrum = torch.stft(
        torch.cat(list(windows)),
        len(shape),
        hop_samples,
        window=shape,
        pad_mode="reflect",
        return_complex=True,
    )
    return torch.view_as_real(spectrum).square().sum(dim=-1).transpose(1, 2)

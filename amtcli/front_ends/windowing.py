"""The window that front-ends cut frames with, the same in every run."""

import numpy as np
import torch
from torch import Tensor


def hann(length: int) -> Tensor:
    """Return a periodic Hann window (length,), float64.

    By NumPy: the first cosine that PyTorch computes on several threads of a process is now and
    then another one in the last place, and with it notes would differ from run to run.
    """
    return torch.from_numpy(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))

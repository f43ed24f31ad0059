"""The constant-Q transform: one windowed sinusoid per bin, each as long as its pitch asks for.

Brown, "Calculation of a constant Q spectral transform" (JASA 1991), in the scaling of librosa
(``norm=1, scale=True``): a sinusoid of amplitude A gives A / 2 times the square root of the
kernel's length in samples. Kernels are applied in the time domain, exactly, so unlike librosa's
recursive one this transform neither resamples nor thins out its kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

PadMode = Literal["reflect", "constant"]

_BINS_AT_ONCE = 24  # bins of about equal length share a convolution


class ConstantQ(nn.Module):
    """Samples (batch, samples) to magnitudes (batch, samples // hop_samples, bins).

    Frame n is centred on sample ``n * hop_samples``. Beyond its ends the signal is mirrored
    ("reflect") or zero ("constant"); one too short to be mirrored is first prolonged by zeros.
    """

    def __init__(
        self,
        frequencies_hz: NDArray[np.float64],
        lengths_samples: NDArray[np.float64],
        sample_rate_hz: int,
        hop_samples: int,
        pad_mode: PadMode,
    ) -> None:
        super().__init__()
        self._hop_samples = hop_samples
        self._pad_mode = pad_mode
        self._reach_blocks: list[int] = []  # of each group: blocks of one hop on either side
        for first in range(0, len(frequencies_hz), _BINS_AT_ONCE):
            group = slice(first, first + _BINS_AT_ONCE)
            frequencies, lengths = frequencies_hz[group], lengths_samples[group]
            reach = -(-int(np.ceil(lengths.max() / 2)) // hop_samples)
            kernels = constant_q_kernels(frequencies / sample_rate_hz, lengths, reach * hop_samples)
            # One sample of each block is one input channel, so a stride of one hop is none.
            blocks = kernels.reshape(len(kernels), 2 * reach, hop_samples).transpose(0, 2, 1)
            weight = torch.from_numpy(np.ascontiguousarray(blocks, np.float32))
            self.register_buffer(f"kernels_{len(self._reach_blocks)}", weight, persistent=False)
            self._reach_blocks.append(reach)

    def forward(self, samples: Tensor) -> Tensor:
        """Transform signals (batch, samples)."""
        n_frames = samples.shape[-1] // self._hop_samples
        reach = max(self._reach_blocks)
        blocks = self._blocks(samples, n_frames, reach)
        groups = []
        for index, own_reach in enumerate(self._reach_blocks):
            first = reach - own_reach
            seen = blocks[:, :, first : first + n_frames + 2 * own_reach - 1]
            parts = F.conv1d(seen, self.get_buffer(f"kernels_{index}"))
            groups.append(torch.hypot(*parts.chunk(2, dim=1)))
        return torch.cat(groups, dim=1).transpose(1, 2)

    def _blocks(self, samples: Tensor, n_frames: int, reach: int) -> Tensor:
        """Pad and cut into blocks of one hop: (batch, hop_samples, blocks)."""
        n_pad = reach * self._hop_samples
        if self._pad_mode == "constant":
            padded = F.pad(samples, (n_pad, n_pad))
        else:
            n_missing = max(n_pad + 1 - samples.shape[-1], 0)
            padded = F.pad(F.pad(samples, (0, n_missing)), (n_pad, n_pad), mode="reflect")
        n_blocks = n_frames + 2 * reach - 1
        used = padded[:, : n_blocks * self._hop_samples]
        return used.reshape(len(samples), n_blocks, self._hop_samples).transpose(1, 2)


def over_sound(samples: Tensor, hop_samples: int, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute features (channels, frames, bins) of the part of a window that has sound.

    ``compute`` is given that part of ``samples`` (1, n), whole hops from its first to its last
    sample that is not 0, as if the recording were no longer. Frames outside it become NaN.
    """
    n_frames = samples.shape[-1] // hop_samples
    sounding = samples[0, : n_frames * hop_samples].nonzero()
    if not len(sounding):
        return compute(samples)
    first, last = (int(sounding[i]) // hop_samples for i in (0, -1))
    inner = compute(samples[:, first * hop_samples : (last + 1) * hop_samples])
    return F.pad(inner, (0, 0, first, n_frames - 1 - last), value=math.nan)


def constant_q_kernels(
    frequencies: NDArray[np.float64], lengths_samples: NDArray[np.float64], center: int
) -> NDArray[np.float64]:
    """Kernels (2 * bins, 2 * center), real parts first; time 0 lies at column ``center``.

    ``frequencies`` are in cycles per sample. Each kernel is a periodic Hann window times a
    sinusoid, its magnitudes add up to 1, times the square root of its length.
    """
    kernels = np.zeros((len(frequencies), 2 * center), complex)
    for kernel, frequency, length in zip(kernels, frequencies, lengths_samples, strict=True):
        time = np.arange(np.floor(-length / 2), np.floor(length / 2))
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(len(time)) / len(time))
        wave = window * np.exp(2j * np.pi * frequency * time) / window.sum() * np.sqrt(length)
        kernel[int(time[0]) + center : int(time[-1]) + 1 + center] = wave
    return np.concatenate([kernels.real, kernels.imag])

"""Recordings that are already in memory, as arrays of samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amtcli.errors import AudioError

# No recording has more channels: such an array was handed over as (samples, channels).
_MAX_CHANNELS = 256


class ArrayDecoder:
    """An array ``(samples,)`` or ``(channels, samples)``; see ``decoder.Decoder``.

    Floats have full scale 1.0, integers of 8 to 32 bits the full scale of their type. Raises
    AudioError.
    """

    def __init__(
        self, samples: NDArray[Any], rate_hz: int | None, block_s: float, label: str
    ) -> None:
        if rate_hz is None:
            raise AudioError(f"{label}: has no sample rate; pass source_rate_hz")
        if samples.ndim not in (1, 2):
            raise AudioError(
                f"{label}: has shape {samples.shape}; pass (samples,) or (channels, samples)"
            )
        self._samples = np.atleast_2d(samples)
        if len(self._samples) > _MAX_CHANNELS:
            raise AudioError(
                f"{label}: has shape {samples.shape}, which is {len(samples)} channels;"
                " pass (channels, samples)"
            )
        self._full_scale, self._zero = _scale(samples.dtype, label)
        self.rate_hz = rate_hz
        self.n_channels = len(self._samples)
        self.expected_samples: int | None = self._samples.shape[1]
        self.warnings: list[str] = []
        self._n_block = max(1, int(block_s * rate_hz))

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks ``(samples, channels)``."""
        n_samples = self._samples.shape[1] if self.n_channels else 0
        for start in range(0, n_samples, self._n_block):
            block = self._samples[:, start : start + self._n_block].T
            if self._full_scale is not None:
                block = (block.astype(np.float64) - self._zero) / self._full_scale
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
                yield np.ascontiguousarray(block, dtype=np.float32)

    def close(self) -> None:
        """Nothing is open."""


def _scale(dtype: np.dtype[Any], label: str) -> tuple[float | None, float]:
    """Return full scale and zero of an integer type; full scale None for floats."""
    if np.issubdtype(dtype, np.floating):
        return None, 0.0
    if np.issubdtype(dtype, np.integer) and dtype.itemsize <= 4:
        full_scale = 2.0 ** (8 * dtype.itemsize - 1)
        return full_scale, full_scale if np.issubdtype(dtype, np.unsignedinteger) else 0.0
    raise AudioError(
        f"{label}: holds {dtype} values, which have no full scale; pass floats in -1 to 1"
    )

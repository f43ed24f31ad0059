"""What all decoders of recordings share: their interface, and how they treat lost audio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SOURCE_RATES_HZ = (1_000, 768_000)
"""Lowest and highest sample rate of a recording that can be one."""


class Decoder(Protocol):
    """One opened recording at its own rate and with its own channels.

    ``expected_samples`` is the header's word (per channel), None where it cannot know;
    ``warnings`` is complete when the blocks have ended.
    """

    rate_hz: int
    n_channels: int
    expected_samples: int | None
    warnings: list[str]

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks ``(samples, channels)``, full scale 1.0, none of them empty."""

    def close(self) -> None:
        """Let go of the decoder; a file that it was given stays open."""


def silence(n_samples: int, n_channels: int, n_block: int) -> Iterator[NDArray[np.float32]]:
    """Yield zeros ``(samples, channels)`` in blocks, in place of audio that is lost."""
    for start in range(0, n_samples, n_block):
        yield np.zeros((min(n_block, n_samples - start), n_channels), np.float32)


def loss_warning(lost_s: float, is_damaged: bool) -> list[str]:
    """Say how much of a recording was lost, if anything."""
    if lost_s > 0:
        return [f"{max(lost_s, 0.01):.2f} s could not be read: the file is cut off or damaged"]
    if is_damaged:
        return ["damaged parts of the file could not be read; their length is unknown"]
    return []

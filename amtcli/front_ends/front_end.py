"""What every front-end offers the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


class FrontEnd(nn.Module, ABC):
    """A front-end as the engine uses it."""

    sample_rate_hz: int
    mono: bool  # whether channels are averaged before they come here

    @abstractmethod
    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """Turn windows, each (channels, samples) and equally long, into features (batch, ...)."""

"""What every network offers the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """A network as the engine uses it."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """What `prepare` takes, once weights are loaded."""
        return ("float32", "bf16")

    def can_grow_from(self, smaller: Network) -> bool:
        """Tell whether it says the same with the weights of a smaller one.

        There are zeros then where these meet what is new (see ``training.initial``).
        """
        return False

    @abstractmethod
    def prepare(self, precision: str) -> None:
        """Make ready for inference, once weights are loaded and on their device.

        ``precision`` is one of ``precisions``; what must stay in float32 stays.
        """

    @abstractmethod
    def activations(self, features: Tensor) -> list[Any]:
        """Compute features (batch, ...) to what the decoder is fed, one item per window.

        Items lie in main memory: they outlive the batch and are decoded in another thread.
        """

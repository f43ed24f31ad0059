"""What a network learns: the labels of a window as targets, and how far its answer is from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from amtcli.datasets.labels import Labels
from amtcli.networks.network import Network

Targets = Mapping[str, NDArray[Any]]
"""One window's targets by name; arrays of the same shapes for every window of a recipe."""


@dataclass(frozen=True)
class WindowLabels:
    """The labels of one window, as augmentation left them; time 0 is the window's first sample.

    Notes are all that sound in the window: an onset may lie before it, an end behind it.
    ``duration_s`` is the window's.
    """

    labels: Labels
    duration_s: float


@dataclass(frozen=True)
class Loss:
    """A scalar to descend, and the terms that it is made of, detached, by name."""

    total: Tensor
    terms: dict[str, Tensor]


class Objective(ABC):
    """Targets and loss of one kind of network, as a recipe's ``[objective]`` table sets them."""

    @abstractmethod
    def targets(self, window: WindowLabels) -> Targets:
        """Turn labels into targets; called in worker processes, so without torch tensors."""

    @abstractmethod
    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Run the network on features (batch, ...) and compare; targets are stacked (batch, ...).

        Where a front-end learns, ``features`` are the samples that it hears in ``network``.

        ``network`` may be wrapped (DDP, FSDP): it is called as a module, never by other methods.
        """

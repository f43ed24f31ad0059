"""What learns, as one module: a network, and the front-end before it where that learns, too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from amtcli.front_ends.front_end import FrontEnd
from amtcli.networks.network import Network


class Hearing(nn.Module):
    """A network and, where it has anything to learn, its front-end.

    Its tensors are called as in a model's weights. It is called with features, as the network is,
    or, where the front-end learns, with samples (B, samples).
    """

    def __init__(self, front_end: FrontEnd, network: Network) -> None:
        super().__init__()
        self.front_end = front_end if any(True for _ in front_end.parameters()) else None
        self.network = network

    def forward(self, inputs: Tensor, *others: Any) -> Any:
        """Run the network; the front-end computes in float32, whatever autocast says."""
        if self.front_end is not None:
            with torch.autocast(inputs.device.type, enabled=False):
                inputs = self.front_end([window[None] for window in inputs])
        return self.network(inputs, *others)

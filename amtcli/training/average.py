"""An exponential moving average of a network's weights over the steps of training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class WeightAverage:
    """The average of tensors by name, begun with their values now.

    In step n, counted from 1, it moves towards the present values by 1 - min(``decay``,
    n / (n + 9)): while training is young it forgets faster, or it would remember the weights
    that training began with. Whole numbers, such as counts of batches, are the present ones.
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self._decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self, tensors: Mapping[str, Tensor], n_steps: int) -> None:
        """Take in the values after step ``n_steps``."""
        weight = 1 - min(self._decay, n_steps / (n_steps + 9))
        numbers = [name for name, own in self.tensors.items() if own.is_floating_point()]
        averages = [self.tensors[name] for name in numbers]
        torch._foreach_lerp_(averages, [tensors[name] for name in numbers], weight)
        for name in self.tensors.keys() - set(numbers):
            self.tensors[name].copy_(tensors[name])

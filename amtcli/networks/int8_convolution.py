"""Convolutions of bytes, by the operators that PyTorch's own compiler emits for processors.

Activations that a rectifier has left are multiples of a step, 0 to 255 of them; weights are 127ths
of the largest of their output channel, to either side; sums are whole numbers (Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018). Processors with VNNI multiply four pairs in the time of one in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

STEPS = 255
_WEIGHT_STEPS = 127
_TYPICAL_SIZE = (400, 88)  # for which oneDNN lays out weights; others are computed as well


@dataclass(frozen=True)
class Geometry:
    """Of a convolution, in the order of PyTorch's arguments, as (time, frequency)."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


class Int8Convolution:
    """Bytes to bytes: convolve, add, rectify, in one pass over the result.

    weight: (n_out, n_in / groups, time, frequency), float32; bias: (n_out,).
    input_step, output_step: what a byte counts, in and out. around_step: in what is added.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        geometry: Geometry,
        *,
        input_step: float,
        output_step: float,
        around_step: float | None = None,
    ) -> None:
        largest = weight.abs().amax(dim=(1, 2, 3)).clamp(min=1e-12)
        self._scales = largest / _WEIGHT_STEPS
        whole = (weight / self._scales[:, None, None, None]).round().to(torch.int8)
        self._zeros = torch.zeros(len(weight), dtype=torch.int8)
        self._bias = bias.float()
        self._geometry = geometry
        self._input_step, self._output_step = input_step, output_step
        self._around_step = around_step
        n_in = weight.shape[1] * geometry.groups
        self._weight: Tensor = torch.ops.onednn.qconv_prepack(
            whole.contiguous(),
            self._scales,
            input_step,
            0,
            list(geometry.stride),
            list(geometry.padding),
            list(geometry.dilation),
            geometry.groups,
            [1, n_in, *_TYPICAL_SIZE],
        )

    def __call__(self, x: Tensor, around: Tensor | None = None) -> Tensor:
        """(B, n_in, T, F) to (B, n_out, T', F'); ``around`` is overwritten, unless it is ``x``."""
        geometry = self._geometry
        x = x.contiguous(memory_format=torch.channels_last)
        where = (list(geometry.stride), list(geometry.padding), list(geometry.dilation))
        given = (x, self._input_step, 0, self._weight, self._scales, self._zeros)
        wanted = (self._output_step, 0, torch.uint8)
        operator: Any = torch.ops.onednn.qconv2d_pointwise
        if around is None:
            result: Tensor = operator(
                *given, self._bias, *where, geometry.groups, *wanted, "relu", [], ""
            )
            return result
        added = around.clone() if around is x else around
        added = added.contiguous(memory_format=torch.channels_last)
        total: Tensor = operator.binary(
            *given, added, self._bias, *where, geometry.groups, *wanted,
            self._around_step, 0, "sum", 1.0, "relu", [], "",
        )  # fmt: skip
        return total


def to_bytes(x: Tensor, step: float) -> Tensor:
    """Count the steps of what is 0 or more; what is above 255 of them is 255."""
    return (x / step).round_().clamp_(max=STEPS).to(torch.uint8)


def as_numbers(x: Tensor, step: float, dtype: torch.dtype) -> Tensor:
    """Undo `to_bytes`; what are no bytes are numbers already."""
    return x.to(dtype).mul_(step) if x.dtype == torch.uint8 else x.to(dtype)


@cache
def is_available() -> bool:
    """Tell whether this PyTorch has the operators and they say what they should.

    They are not part of its documented interface: names and arguments change with versions.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (1, 8, 8, 8), generator=generator, dtype=torch.uint8)
    around = torch.randint(0, 256, (1, 8, 8, 8), generator=generator, dtype=torch.uint8)
    weight = torch.randn(8, 8, 1, 1, generator=generator)
    whole_weight = 127 * weight.sign()  # exact in 8 bits
    geometry = Geometry((1, 1), (0, 0), (1, 1), 1)
    steps = {"input_step": 0.5, "output_step": 512.0, "around_step": 64.0}
    expected = torch.conv2d(x.float() * 0.5, whole_weight) + around.float() * 64.0
    try:
        convolution = Int8Convolution(whole_weight, torch.zeros(8), geometry, **steps)
        found = convolution(x, around)
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return False
    off = (found.float() - (expected / 512.0).clamp(0, STEPS)).abs().max()
    return bool(off <= 0.5 + 1e-3)

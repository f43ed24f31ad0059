"""Swift's convolution: trained with its normalisation, folded into one, computed with bytes.

Shapes: B windows, channels, T frames, F columns of frequency; channels lie last in memory.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amtcli.networks.int8_convolution import Geometry, Int8Convolution
from amtcli.notes import N_KEYS

PEAK_MOMENTUM = 0.01

_TYPICAL_SIZE = (400, N_KEYS)  # for which oneDNN lays out weights; others are computed as well


class Lookahead:
    """Hands out the frames that layers may look ahead, until there are none left."""

    def __init__(self, frames: int) -> None:
        self.left = frames
        self.given = 0

    def take(self, wanted: int) -> int:
        """Return how many of the wanted frames a layer gets."""
        taken = min(wanted, self.left)
        self.left -= taken
        self.given += taken
        return taken


class Convolution(nn.Module):
    """A convolution over time and frequency, its normalisation and a rectifier.

    Kernels and dilations are given as (time, frequency); widths are odd. Time keeps its length,
    and frequency is padded so that every stride-th column is answered, with zeros at all edges.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: tuple[int, int],
        lookahead: Lookahead,
        *,
        dilation: int = 1,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        reach = (kernel[0] - 1) * dilation
        self.ahead_frames = lookahead.take(reach // 2)
        self.behind_frames = reach - self.ahead_frames
        # What is as long on both sides, the convolution pads itself, without a copy.
        self._pads_itself = self.ahead_frames == self.behind_frames
        self._padding = (
            self.ahead_frames if self._pads_itself else 0,
            0 if stride > 1 else kernel[1] // 2,
        )
        self.convolution = nn.Conv2d(
            n_in,
            n_out,
            kernel,
            stride=(1, stride),
            dilation=(dilation, 1),
            padding=self._padding,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(n_out)
        self.peak: Tensor | None
        self.register_buffer("peak", None)
        self._folded: tuple[Tensor, Tensor] | None = None
        self._int8: Int8Convolution | None = None

    def forward(self, x: Tensor, around: Tensor | None = None) -> Tensor:
        """(B, n_in, T, F) to (B, n_out, T, F // stride); adds ``around`` before it rectifies."""
        if not self._pads_itself:
            x = F.pad(x, (0, 0, self.behind_frames, self.ahead_frames))
        if self._folded is None or self.training:
            normal = self._normal(x)
            result = torch.relu(normal) if around is None else torch.relu_(normal + around)
            if self.peak is not None:
                self._follow(self.peak, result)
            return result
        if self._int8 is not None:
            return self._int8(x, around)
        return self._fused(x, around, self._padding)

    def unpadded(self, x: Tensor, around: Tensor | None = None) -> Tensor:
        """Compute the frames whose neighbours in time are all there, once folded."""
        return self._fused(x, around, (0, self._padding[1]))

    @torch.no_grad()
    def fold(self, dtype: torch.dtype) -> None:
        """Make one convolution of both for inference, with weights and results of ``dtype``."""
        layer = self.convolution
        exact_weight, exact_bias = self._as_one()
        weight = exact_weight.to(dtype, memory_format=torch.channels_last)
        bias = exact_bias.to(dtype)
        self._int8 = None
        if _can_fuse(weight):
            size = [1, layer.in_channels, *_TYPICAL_SIZE]
            settings = (self._padding, layer.stride, layer.dilation, layer.groups)
            weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *settings, size)
        self._folded = (weight, bias)

    def watch(self) -> None:
        """Keep the largest result that batches of training have in the mean, 0 until there was one.

        It is what int8 must be able to count, and belongs to the weights like batch statistics.
        """
        self.peak = torch.zeros(())

    def _normal(self, x: Tensor) -> Tensor:
        if self.training and not self.norm.training:  # statistics are fixed, so one pass will do
            return self._convolve(x, *self._as_one())
        normal: Tensor = self.norm(self._convolve(x, self.convolution.weight))
        return normal

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        layer = self.convolution
        if layer.kernel_size == (1, 1):
            # With one thread, PyTorch's own 1 x 1 convolution in float32 is slow.
            return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
        settings = (layer.stride, self._padding, layer.dilation, layer.groups)
        return torch.conv2d(x, weight, bias, *settings)

    @torch.no_grad()
    def _follow(self, peak: Tensor, result: Tensor) -> None:
        new = result.amax().float()
        peak.copy_(torch.where(peak > 0, torch.lerp(peak, new, PEAK_MOMENTUM), new))

    @torch.no_grad()
    def quantise(
        self, input_step: float, output_step: float, around_step: float | None = None
    ) -> None:
        """Compute with bytes, once folded; they count as `Int8Convolution` has it."""
        layer = self.convolution
        time, frequency = layer.stride
        geometry = Geometry(
            (time, frequency), self._padding, (layer.dilation[0], layer.dilation[1]), layer.groups
        )
        self._int8 = Int8Convolution(
            *self._as_one(),
            geometry,
            input_step=input_step,
            output_step=output_step,
            around_step=around_step,
        )

    def _as_one(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution and its normalisation together."""
        norm, layer = self.norm, self.convolution
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return layer.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale

    def _fused(self, x: Tensor, around: Tensor | None, padding: tuple[int, int]) -> Tensor:
        """Convolve, add and rectify in one pass over the result, where oneDNN does it."""
        assert self._folded is not None
        weight, bias = self._folded
        layer = self.convolution
        settings = (padding, layer.stride, layer.dilation, layer.groups)
        if not weight.is_mkldnn:
            result = torch.conv2d(
                x, weight, bias, layer.stride, padding, layer.dilation, layer.groups
            )
            return torch.relu_(result if around is None else result.add_(around))
        ops = torch.ops.mkldnn
        fused: Tensor = (
            ops._convolution_pointwise(x, weight, bias, *settings, "relu", [], "")
            if around is None
            else ops._convolution_pointwise.binary(
                x, around, weight, bias, *settings, "add", 1.0, "relu", [], ""
            )
        )
        return fused


Steps = Mapping[Convolution, float]
"""What a byte counts in the results of each convolution."""


def _can_fuse(weight: Tensor) -> bool:
    """Tell whether there are the operators that PyTorch's own compiler emits for processors."""
    ops = torch.ops.mkldnn
    return (
        weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and hasattr(ops, "_reorder_convolution_weight")
        and hasattr(ops, "_convolution_pointwise")
        and (weight.dtype == torch.float32 or bool(ops._is_mkldnn_bf16_supported()))
    )

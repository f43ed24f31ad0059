"""Matrix products at the speed of the machine.

On x86 processors PyTorch sends float32 products to MKL, which leaves the AVX-512 units of AMD
processors unused, while oneDNN, to which its convolutions go, uses them (more than twice as
fast on Zen 5, measured by ``tests/benchmarks``).
"""

from __future__ import annotations

import platform

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_X86 = platform.machine().lower() in {"x86_64", "amd64"}


def _has_onednn(x: Tensor) -> bool:
    return _X86 and x.device.type == "cpu" and torch.backends.mkldnn.is_available()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``x @ weight.T + bias`` for x (..., n_in) and weight (n_out, n_in).

    For shapes that recur: oneDNN builds a kernel for each new one, which takes milliseconds.
    A product is a 1 x 1 convolution over channels-last data, with the same memory layout on
    both sides, so nothing is copied to get there.
    """
    if x.dtype != torch.float32 or not _has_onednn(x):
        return F.linear(x, weight, bias)
    # With one thread PyTorch takes oneDNN for 1 x 1 filters only from 16 images on.
    n_rows = x.numel() // x.shape[-1]
    n_images = 16 if n_rows % 16 == 0 else 1
    rows = x.reshape(n_images, 1, n_rows // n_images, x.shape[-1]).permute(0, 3, 1, 2)
    product = F.conv2d(rows, weight[:, :, None, None], bias)
    return product.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[0])


class Linear(nn.Linear):
    """A linear layer whose weights can be packed for oneDNN, once they no longer change."""

    _packed: Tensor | None = None

    def pack(self, n_rows: int) -> None:
        """Lay the weights out as oneDNN wants them for products of ``n_rows`` rows.

        Does nothing where there is no oneDNN. The operators are those that PyTorch's own
        compiler emits; a PyTorch without them takes the plain way.
        """
        if _has_onednn(self.weight) and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), n_rows)

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """Map x (..., n_in), brought to the weights' dtype, to (..., n_out)."""
        x = x.to(self.weight.dtype)
        if self._packed is not None:
            # Fused, because a GELU of its own would carry its input out of the cache and back.
            after, variant = ("gelu", "none") if gelu else ("none", "")  # "none": no tanh
            fused: Tensor = torch.ops.mkldnn._linear_pointwise(
                x, self._packed, self.bias, after, [], variant
            )
            return fused
        product = F.linear(x, self.weight, self.bias)
        return F.gelu(product) if gelu else product

"""Multiply-adds of whatever is run: products, convolutions, recurrent layers, Fourier transforms.

PyTorch's counter knows products, convolutions and attention; this adds what it leaves out. What
works value by value (activations, normalisation, pooling) is not counted.
"""

import math

import torch
from torch.utils.flop_counter import FlopCounterMode


def count_multiply_adds(work):
    """Run ``work()`` and return how many multiplications with an addition it took."""
    with FlopCounterMode(display=False, custom_mapping=_formulas()) as counter, torch.no_grad():
        work()
    return counter.get_total_flops() / 2


def _formulas():
    """Operations, two for each multiply-add, of what PyTorch does not count, from shapes."""
    aten, mkldnn = torch.ops.aten, torch.ops.mkldnn
    formulas = {aten.addmv: _matrix_by_vector, aten._fft_r2c: _fourier_transform}
    # What PyTorch compiled for x86 takes for LSTMs (GRUs fall into products) and packed layers.
    if hasattr(aten, "mkldnn_rnn_layer"):
        formulas[aten.mkldnn_rnn_layer] = _recurrent_layer
    if hasattr(mkldnn, "_linear_pointwise"):
        formulas[mkldnn._linear_pointwise] = _packed_linear
    for name in ("_convolution_pointwise", "_convolution_pointwise_"):  # fused with what follows
        if hasattr(mkldnn, name):
            formulas[getattr(mkldnn, name)] = _fused_convolution
    return formulas


def _matrix_by_vector(_, matrix, vector, **__):
    return 2 * math.prod(matrix)


def _fourier_transform(signal, axes, *_, **__):
    """Of a real signal: half of the 5 n log2(n) operations of a complex one."""
    n = math.prod(signal[axis] for axis in axes)
    return round(2.5 * math.log2(n) * math.prod(signal))


def _recurrent_layer(frames, from_input, from_hidden, *_, **__):
    """One layer in one direction, (steps, batch, n_in): each step multiplies by both matrices."""
    return 2 * math.prod(frames[:-1]) * (math.prod(from_input) + math.prod(from_hidden))


def _fused_convolution(*shapes, out_shape, **__):
    """Weights (n_out, n_in of a group, height, width) are the last of the four-dimensional."""
    *_, weight = (s for s in shapes if isinstance(s, torch.Size) and len(s) == 4)
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def _packed_linear(x, *_, out_shape, **__):
    return 2 * math.prod(out_shape) * x[-1]

"""What the benchmark counts, against counts by hand."""

import pytest
import torch
from benchmarks.multiply_adds import count_multiply_adds
from torch import nn

from amtcli.networks.linear import Linear


def test_products_and_convolutions():
    x = torch.zeros(7, 5)
    assert count_multiply_adds(lambda: nn.Linear(5, 3)(x)) == 7 * 5 * 3
    image = torch.zeros(1, 2, 10, 12)
    convolve = nn.Conv2d(2, 4, (3, 5), padding=(1, 2))
    assert count_multiply_adds(lambda: convolve(image)) == 10 * 12 * 4 * 2 * 15
    assert count_multiply_adds(lambda: torch.addmv(x[:, 0], x, x[0])) == 7 * 5


@pytest.mark.parametrize(("layer", "n_gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_layers(layer, n_gates):
    n_in, width, n_batch, n_steps = 20, 16, 3, 50
    network = layer(n_in, width, num_layers=2, batch_first=True, bidirectional=True)
    per_step = 2 * n_gates * width * ((n_in + width) + (2 * width + width))
    counted = count_multiply_adds(lambda: network(torch.zeros(n_batch, n_steps, n_in)))
    assert counted == n_batch * n_steps * per_step


def test_packed_layers():
    layer = Linear(32, 48)
    layer.pack(n_rows=6)
    assert count_multiply_adds(lambda: layer(torch.zeros(2, 3, 32))) == 6 * 32 * 48


def test_fourier_transforms():
    frames = torch.zeros(9, 1024)
    assert count_multiply_adds(lambda: torch.fft.rfft(frames)) == 9 * 1.25 * 1024 * 10

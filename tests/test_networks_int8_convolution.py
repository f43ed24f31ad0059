"""Convolutions of bytes against whole-number arithmetic."""

import pytest
import torch

from amtcli.networks import int8_convolution
from amtcli.networks.int8_convolution import Geometry, Int8Convolution, as_numbers, to_bytes

pytestmark = pytest.mark.skipif(
    not int8_convolution.is_available(), reason="this PyTorch has no convolutions of bytes"
)
INPUT_STEP, OUTPUT_STEP, AROUND_STEP = 0.02, 0.05, 0.03
SIZE = (2, 8, 12, 10)


def drawn(n_out, n_in, kernel):
    """Weights that 8 bits hold exactly, small enough for processors without VNNI, and biases."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-60, 61, (n_out, n_in, *kernel), generator=generator).float() / 100
    weight[:, 0, 0, 0] = 1.27  # the largest of every channel: steps are hundredths
    return weight, torch.randn(n_out, generator=generator)


def random_bytes(size=SIZE, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 100, size, generator=generator, dtype=torch.uint8)
    return x.to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("kernel", "geometry"),
    [
        ((1, 1), Geometry((1, 1), (0, 0), (1, 1), 1)),
        ((3, 3), Geometry((1, 1), (2, 1), (2, 1), 1)),
        ((3, 3), Geometry((1, 3), (0, 0), (1, 1), 1)),
        ((5, 1), Geometry((1, 1), (2, 0), (1, 1), 8)),
    ],
)
@pytest.mark.parametrize("adds", [False, True])
def test_the_result_is_the_nearest_number_of_steps(kernel, geometry, adds):
    weight, bias = drawn(8, 8 // geometry.groups, kernel)
    x = random_bytes()
    exact = torch.conv2d(
        x.double() * INPUT_STEP, weight.double(), bias.double(), geometry.stride,
        geometry.padding, geometry.dilation, geometry.groups,
    )  # fmt: skip
    around = random_bytes(exact.shape, seed=2) if adds else None
    if around is not None:
        exact = exact + around.double() * AROUND_STEP
    convolution = Int8Convolution(
        weight, bias, geometry,
        input_step=INPUT_STEP, output_step=OUTPUT_STEP, around_step=AROUND_STEP,
    )  # fmt: skip
    found = convolution(x, around)
    wanted = (exact / OUTPUT_STEP).clamp(0, 255)
    assert (found.double() - wanted).abs().max() <= 0.5 + 1e-3
    assert found.float().std() > 10


def test_what_goes_in_twice_is_not_overwritten_before_it_is_read():
    weight, bias = drawn(8, 8, (3, 1))
    convolution = Int8Convolution(
        weight, bias, Geometry((1, 1), (1, 0), (1, 1), 1),
        input_step=INPUT_STEP, output_step=OUTPUT_STEP, around_step=INPUT_STEP,
    )  # fmt: skip
    x = random_bytes()
    apart = convolution(x, x.clone())
    assert torch.equal(convolution(x, x), apart)
    assert torch.equal(x, random_bytes())


def test_numbers_to_bytes_and_back():
    x = torch.tensor([0.0, 0.24, 0.26, 1.0, 200.0])
    assert to_bytes(x, 0.5).tolist() == [0, 0, 1, 2, 255]
    assert as_numbers(to_bytes(x, 0.5), 0.5, torch.float32).tolist() == [0.0, 0.0, 0.5, 1.0, 127.5]
    assert as_numbers(x, 0.5, torch.float64).dtype == torch.float64
    assert torch.equal(as_numbers(x, 0.5, torch.float32), x)


def test_a_pytorch_without_the_operators_is_noticed(monkeypatch):
    int8_convolution.is_available.cache_clear()
    monkeypatch.setattr(int8_convolution, "Int8Convolution", broken)
    assert not int8_convolution.is_available()
    int8_convolution.is_available.cache_clear()


def broken(*arguments, **options):
    raise RuntimeError("onednn::qconv2d_pointwise() is missing value for argument 'algorithm'")

import pytest
import torch

from amtcli.networks.linear import Linear, linear


@pytest.mark.parametrize("rows", [(1,), (37,), (48,), (3, 16), (2, 5, 7)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_fast_product_equals_the_plain_one(rows, bias, threads):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*rows, 24, generator=generator)
    weight = torch.randn(11, 24, generator=generator)
    shift = torch.randn(11, generator=generator) if bias else None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        product = linear(x, weight, shift)
    finally:
        torch.set_num_threads(before)
    expected = x.double() @ weight.double().T + (0 if shift is None else shift.double())
    assert product.shape == (*rows, 11)
    torch.testing.assert_close(product.double(), expected, atol=1e-5, rtol=1e-5)


def test_rows_that_are_not_contiguous():
    x = torch.arange(24.0).reshape(4, 6).T  # (6, 4)
    weight = torch.eye(4)[:2]
    torch.testing.assert_close(linear(x, weight), x[:, :2])


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
def test_a_packed_layer_equals_the_plain_one(packed, gelu):
    torch.manual_seed(1)
    layer = Linear(24, 11).requires_grad_(False)
    if packed:
        layer.pack(n_rows=48)
    for rows in ((48,), (3, 16), (7,)):  # packed for one number of rows, right for any
        x = torch.randn(*rows, 24)
        expected = x.double() @ layer.weight.double().T + layer.bias.double()
        if gelu:
            expected = 0.5 * expected * (1 + torch.erf(expected / 2**0.5))
        torch.testing.assert_close(layer(x, gelu=gelu).double(), expected, atol=1e-5, rtol=1e-5)


def test_a_layer_in_bf16_takes_float32():
    torch.manual_seed(2)
    layer = Linear(24, 11).requires_grad_(False)
    x = torch.randn(16, 24)
    expected = layer(x)
    layer.to(torch.bfloat16).pack(n_rows=16)
    assert layer(x).dtype == torch.bfloat16
    torch.testing.assert_close(layer(x).float(), expected, atol=0.05, rtol=0.05)

"""Batch statistics that are fixed or measured, by what PyTorch's normalisation does with them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from amtcli.networks.swift_convolution import Convolution, Lookahead
from amtcli.training.batch_statistics import fix_statistics, measure_statistics


def normalisation():
    torch.manual_seed(3)
    layer = nn.BatchNorm1d(4)
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2.0)
    return layer


def test_measured_statistics_are_the_mean_of_those_of_batches():
    layer = normalisation()
    batches = [torch.randn(8, 4) * scale + scale for scale in (1, 2, 5)]
    measure_statistics(nn.Sequential(layer), layer, batches)
    torch.testing.assert_close(layer.running_mean, torch.stack(batches).mean(dim=(0, 1)))
    torch.testing.assert_close(layer.running_var, torch.stack(batches).var(dim=1).mean(dim=0))


def test_fixed_statistics_normalise_training_and_do_not_move():
    layer, x = normalisation(), torch.randn(8, 4)
    before = {name: tensor.clone() for name, tensor in layer.named_buffers()}
    module = nn.Sequential(layer, nn.Dropout(0.5)).train()
    fix_statistics(module)
    expected = (x - before["running_mean"]) / (before["running_var"] + layer.eps).sqrt()
    torch.testing.assert_close(layer(x), expected)
    module(x).sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.named_buffers())
    assert layer.bias.grad.tolist() != [0.0] * 4
    assert module[1].training


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 1)])
def test_swift_computes_fixed_statistics_as_pytorch_does_and_learns_from_them(kernel):
    torch.manual_seed(5)
    layer = Convolution(6, 6, kernel, Lookahead(100))
    layer.norm.running_mean.normal_()
    layer.norm.running_var.uniform_(0.5, 2.0)
    nn.init.normal_(layer.norm.weight)
    nn.init.normal_(layer.norm.bias)
    layer.train()
    fix_statistics(layer)
    x, around = torch.randn(2, 6, 9, 7), torch.randn(2, 6, 9, 7)
    padding = (kernel[0] // 2, kernel[1] // 2)
    convolved = F.conv2d(x, layer.convolution.weight, padding=padding)
    expected = torch.relu(layer.norm(convolved) + around)
    torch.testing.assert_close(layer(x, around), expected, rtol=1e-4, atol=1e-5)
    learnt = list(layer.parameters())
    wanted = torch.autograd.grad(expected.square().sum(), learnt)
    found = torch.autograd.grad(layer(x, around).square().sum(), learnt)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)

"""Optimisers and clipping."""

import pytest
import torch
from torch import nn

from amtcli.training.optimisers import clip_gradients, make_optimiser, set_learning_rate
from amtcli.training.recipe import OptimiserConfig


def config(kind="adam", weight_decay=0.0):
    return OptimiserConfig(kind, 0.1, (0.9, 0.999), 1e-8, weight_decay, False, 0.0)


def test_gradients_are_scaled_to_the_norm():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([weight], 0.5).item() == pytest.approx(5.0)
    assert weight.grad.tolist() == pytest.approx([0.3, 0.4], rel=1e-5)


def test_without_a_bound_gradients_stay():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3000.0, 4000.0])
    assert clip_gradients([weight], 0.0).item() == pytest.approx(5000.0)
    assert weight.grad.tolist() == [3000.0, 4000.0]


def test_adamw_decays_weights_apart_from_the_gradient():
    weight = nn.Parameter(torch.tensor([2.0]))
    optimiser = make_optimiser(config("adamw", 0.5), [weight])
    set_learning_rate(optimiser, 0.01)
    weight.grad = torch.tensor([7.0])
    optimiser.step()
    # Adam's first step is the learning rate, whatever the size of the gradient.
    assert weight.item() == pytest.approx(2.0 * (1 - 0.01 * 0.5) - 0.01)


def test_frozen_weights_are_left_out():
    frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
    optimiser = make_optimiser(config(), [frozen, nn.Parameter(torch.zeros(1))])
    assert len(optimiser.param_groups[0]["params"]) == 1

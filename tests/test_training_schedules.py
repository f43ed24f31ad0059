"""The learning rate's course, against the originals' formulas."""

import math

import pytest
import torch

from amtcli.training.recipe import (
    ConstantSchedule,
    CosineQuartersSchedule,
    OneCycleSchedule,
    StepDecaySchedule,
)
from amtcli.training.schedules import learning_rate_factor


def test_a_constant_stays():
    assert learning_rate_factor(ConstantSchedule("constant"), 12345, 10) == 1.0


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 1.0), (9_999, 1.0), (10_000, 0.9), (25_000, 0.81), (30_000, 0.729)]
)
def test_step_decay_falls_after_every_so_many_steps(step, factor):
    config = StepDecaySchedule("step_decay", 10_000, 0.9)
    assert learning_rate_factor(config, step, 300_000) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0),  # specs, 1.4: a rise from 0 to .008 in 500 steps,
        (250, 0.004),
        (499, 0.008 * 499 / 500),
        (500, 0.008),  # then quarter waves .008 * cos(pi / 2 * s / 999) of 1000 steps,
        (500 + 333, 0.008 * math.cos(math.pi / 2 * 333 / 999)),
        (500 + 999, 0.0),
        (1500, 0.008 * 0.975),  # each with .975 of the peak before it
        (3500 + 500, 0.008 * 0.975**3 * math.cos(math.pi / 2 * 500 / 999)),
    ],
)
def test_cosine_quarters_are_those_of_onsets_and_velocities(step, rate):
    config = CosineQuartersSchedule("cosine_quarters", 500, 1000, 0.975)
    assert 0.008 * learning_rate_factor(config, step, 145_000) == pytest.approx(rate, abs=1e-12)


def test_quarters_may_begin_without_a_rise():
    config = CosineQuartersSchedule("cosine_quarters", 0, 2, 1.0)
    factors = [learning_rate_factor(config, step, 4) for step in range(4)]
    assert factors == pytest.approx([1, 0, 1, 0])


def test_one_cycle_is_that_of_torch():
    n_steps, peak = 40, 3e-3
    config = OneCycleSchedule("one_cycle", 0.25, 1 / 25, 1 / 25 / 1e4)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    torchs = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, peak, total_steps=n_steps, pct_start=0.25, div_factor=25, final_div_factor=1e4
    )
    for step in range(n_steps):
        ours = peak * learning_rate_factor(config, step, n_steps)
        assert ours == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9), step
        optimiser.step()
        if step < n_steps - 1:
            torchs.step()


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_the_shortest_cycles_stay_within_their_ends(n_steps):
    config = OneCycleSchedule("one_cycle", 0.3, 0.04, 1e-4)
    factors = [learning_rate_factor(config, step, n_steps) for step in range(n_steps)]
    assert all(1e-4 <= factor <= 1 for factor in factors)
    if n_steps > 1:
        assert factors[-1] == pytest.approx(1e-4)

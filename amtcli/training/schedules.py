"""How the learning rate moves: a factor of its peak for each step, a pure function."""

from __future__ import annotations

import math

from amtcli.training.recipe import (
    ConstantSchedule,
    CosineQuartersSchedule,
    OneCycleSchedule,
    ScheduleConfig,
    StepDecaySchedule,
)


def learning_rate_factor(config: ScheduleConfig, step: int, n_steps: int) -> float:
    """Return what the peak learning rate is multiplied by in step ``step``, counted from 0.

    ``n_steps`` is the length of the whole training.
    """
    if isinstance(config, ConstantSchedule):
        return 1.0
    if isinstance(config, StepDecaySchedule):
        return config.factor ** (step // config.every_steps)
    if isinstance(config, CosineQuartersSchedule):
        return _cosine_quarters(config, step)
    return _one_cycle(config, step, n_steps)


def _cosine_quarters(config: CosineQuartersSchedule, step: int) -> float:
    """As Onsets & Velocities was trained: the last step of a cycle has the rate zero."""
    if step < config.warmup_steps:
        return step / config.warmup_steps
    cycle, position = divmod(step - config.warmup_steps, config.cycle_steps)
    wave = math.cos(math.pi / 2 * position / (config.cycle_steps - 1))
    return float(config.cycle_factor**cycle * wave)


def _one_cycle(config: OneCycleSchedule, step: int, n_steps: int) -> float:
    """Follow the one-cycle policy (Smith and Topin 2017), with cosines for its straight lines."""
    top = config.rise_share * n_steps - 1  # may be no whole step, or lie before the first
    if step <= top:
        return _half_cosine(config.start_factor, 1.0, step / top if top > 0 else 1.0)
    share = (step - top) / (n_steps - 1 - top)
    return _half_cosine(1.0, config.end_factor, min(share, 1.0))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2

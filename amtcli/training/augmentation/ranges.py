"""Ranges that augmentation draws from."""

from __future__ import annotations

import math

from numpy.random import Generator

Range = tuple[float, float]
"""Lowest and highest value; drawn uniformly."""


def check_probability(probability: float) -> None:
    """Raise ValueError unless ``probability`` lies in 0-1."""
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability is {probability:g}: choose one from 0 (never) to 1 (always)")


def check_range(
    name: str, values: Range, lowest: float = -math.inf, highest: float = math.inf
) -> None:
    """Raise ValueError unless both ends are in order and within ``lowest`` and ``highest``."""
    low, high = values
    if not (math.isfinite(low) and math.isfinite(high) and lowest <= low <= high <= highest):
        raise ValueError(
            f"{name} is [{low:g}, {high:g}]: give the lower end first, "
            f"both within {lowest:g} and {highest:g}"
        )


def check_number(
    name: str, value: float, lowest: float = -math.inf, highest: float = math.inf
) -> None:
    """Raise ValueError unless ``value`` is finite and within ``lowest`` and ``highest``."""
    if not (math.isfinite(value) and lowest <= value <= highest):
        raise ValueError(f"{name} is {value:g}: choose one within {lowest:g} and {highest:g}")


def happens(rng: Generator, probability: float) -> bool:
    """Draw whether something of this probability happens; 0 never does, 1 always."""
    return bool(rng.random() < probability)


def draw_between(rng: Generator, values: Range) -> float:
    """Draw a number uniformly from a range."""
    return float(rng.uniform(*values))


def decibels_to_gain(level_db: float) -> float:
    """Turn decibels into a factor of amplitude."""
    return float(10.0 ** (level_db / 20.0))

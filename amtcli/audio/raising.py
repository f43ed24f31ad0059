"""Soft recordings made louder, as networks heard few so soft when they learnt."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_SOFT_DB = -25.0
_AIM_DB = -15.0
_MOST_DB = 30.0  # what is softer still is noise, or the rounding of its samples
FULLY_RAISED_DB = _AIM_DB - _MOST_DB
"""The softest peak that is brought to where it should be."""

_HEARD_S = 30.0

_Block: TypeAlias = NDArray[np.float32]


def raised(blocks: Iterable[_Block], rate_hz: int) -> Iterator[_Block]:
    """Give out blocks (channels, samples), louder where the first half minute is soft.

    A recording whose peak there lies below -25 dB of full scale is raised to -15, by 30 dB at the
    most. What comes louder afterwards lowers the gain from its block on, and ends it where the
    recording is not soft after all, as behind a long silence. Other recordings are given out as
    they are.
    """
    remaining = iter(blocks)
    held, peak = _first(remaining, round(_HEARD_S * rate_hz))
    gain = _gain(peak, _ratio(_MOST_DB))
    for block in itertools.chain(held, remaining):
        gain = _gain(_peak(block), gain)
        yield block * np.float32(gain) if gain > 1 else block


def _first(blocks: Iterator[_Block], n_samples: int) -> tuple[list[_Block], float]:
    """Take blocks until one is not soft or there are ``n_samples``; return them and their peak."""
    held: list[_Block] = []
    peak = 0.0
    for block in blocks:
        held.append(block)
        peak = max(peak, _peak(block))
        n_samples -= block.shape[-1]
        if peak >= _ratio(_SOFT_DB) or n_samples <= 0:
            break
    return held, peak


def _gain(peak: float, most: float) -> float:
    """Choose the gain for a peak: 1 where it is not soft, at most ``most``."""
    if peak == 0:
        return most
    return min(most, _ratio(_AIM_DB) / peak) if peak < _ratio(_SOFT_DB) else 1.0


def _peak(block: _Block) -> float:
    return float(np.abs(block).max(initial=0.0))


def _ratio(level_db: float) -> float:
    return float(10 ** (level_db / 20))

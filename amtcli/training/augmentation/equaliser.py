"""A random smooth equaliser: another instrument, microphone or place of the microphone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from amtcli.training.augmentation.ranges import check_number, check_probability, happens

_LOWEST_HZ = 40.0
_N_GRID = 256


@dataclass(frozen=True)
class EqualiserConfig:
    """Normal gains of ``rms_db`` at ``n_points`` frequencies an equal interval apart, and a tilt.

    The points reach from 40 Hz to half the sample rate; the tilt is drawn uniformly from minus
    to plus ``tilt_db_per_octave``.
    """

    probability: float
    rms_db: float
    n_points: int
    tilt_db_per_octave: float

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_number("rms_db", self.rms_db, 0, 20)
        check_number("n_points", self.n_points, 2, 32)
        check_number("tilt_db_per_octave", self.tilt_db_per_octave, 0, 12)


@dataclass(frozen=True)
class Equaliser:
    """Gains at frequencies spaced evenly on a logarithmic scale, 0 dB in the mean."""

    gains_db: tuple[float, ...]

    def response(self, n_fft: int, sample_rate_hz: int) -> NDArray[np.float32]:
        """Gain at each frequency of a real FFT, (n_fft // 2 + 1,).

        It has no phase: what happens at a time stays there.
        """
        frequencies_hz = np.arange(n_fft // 2 + 1, dtype=np.float32) * (sample_rate_hz / n_fft)
        points = np.linspace(0.0, 1.0, len(self.gains_db))
        grid = np.linspace(0.0, 1.0, _N_GRID)
        curve_db = CubicSpline(points, self.gains_db, bc_type="natural")(grid)
        grid_hz = _LOWEST_HZ * (sample_rate_hz / 2 / _LOWEST_HZ) ** grid
        gains: NDArray[np.float32] = np.interp(
            frequencies_hz, grid_hz, 10.0 ** (curve_db / 20)
        ).astype(np.float32)
        return gains


def draw_equaliser(
    config: EqualiserConfig, rng: Generator, sample_rate_hz: int
) -> Equaliser | None:
    """Draw an equaliser, or none."""
    if not happens(rng, config.probability):
        return None
    gains_db = rng.normal(0.0, config.rms_db, config.n_points)
    n_octaves = np.log2(sample_rate_hz / 2 / _LOWEST_HZ)
    tilt = rng.uniform(-config.tilt_db_per_octave, config.tilt_db_per_octave)
    gains_db += tilt * n_octaves * np.linspace(-0.5, 0.5, config.n_points)
    gains_db -= gains_db.mean()  # the level is not the equaliser's to change
    return Equaliser(tuple(float(gain) for gain in gains_db))

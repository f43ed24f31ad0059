"""What is done to velocities between reading them off a recording and writing them down.

All of these are pure functions on arrays (n,) of MIDI velocities, of one score's notes in order
of their onsets; they neither round nor limit, which `to_midi` does at the end. In the order in
which `map_velocities` applies them:

accents
    What was read says how loud each moment is, the score how its notes compare: each note gets
    the read loudness of its surroundings, and of the score its distance from there.
match
    Another instrument's response: the same ranks, other velocities.
strength
    How much of the way from the score's velocities to the new ones is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from amtcli.errors import UsageError

# A note's surroundings: what begins within a second of it counts by a Gaussian of this deviation.
ACCENT_CONTEXT_S = 0.5
_CONTEXT_DEVIATIONS = 3.0
_LOWEST, _HIGHEST = 1, 127

Velocities = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Points (read velocity, wanted velocity); straight lines between, level beyond the ends."""

    points: tuple[tuple[float, float], ...]

    def __call__(self, velocities: Velocities) -> Velocities:
        """Map velocities through the curve."""
        read, wanted = zip(*self.points, strict=True)
        mapped: Velocities = np.interp(velocities, read, wanted)
        return mapped


@dataclass(frozen=True)
class VelocityMapping:
    """What to do, as above; ``match`` is a curve or another instrument's velocities."""

    strength: float = 1.0
    keep_accents: bool = False
    match: Curve | Velocities | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UsageError(
                f"--strength takes 0 (as the score has it) to 1, not {self.strength:g}"
            )


def map_velocities(
    read: Velocities, written: Velocities, onsets_s: NDArray[np.float64], mapping: VelocityMapping
) -> NDArray[np.intp]:
    """Make the velocities to be written, 1-127, of those read and those that the score has."""
    new = keep_accents(read, written, onsets_s) if mapping.keep_accents else read
    if isinstance(mapping.match, Curve):
        new = mapping.match(new)
    elif mapping.match is not None:
        new = match_quantiles(new, mapping.match)
    return to_midi(written + mapping.strength * (new - written))


def to_midi(velocities: Velocities) -> NDArray[np.intp]:
    """Round to the nearest velocity of 1-127: no note gets the 0 that would end it."""
    return np.clip(np.rint(velocities), _LOWEST, _HIGHEST).astype(np.intp)


def keep_accents(
    read: Velocities, written: Velocities, onsets_s: NDArray[np.float64]
) -> Velocities:
    """Give each note the loudness read around it, plus its own accent in the score.

    An accent is a note's velocity less the weighted mean of its surroundings, itself included:
    all notes that begin within 1.5 s, weighted by a Gaussian of 0.5 s deviation over the distance
    of their onsets. So phrases and crescendi follow the recording, while voicing within a chord
    and stress within a beat or two stay those of the score. A score of one velocity has no
    accents, and what comes out are the recording's phrases alone.
    """
    return local_mean(read, onsets_s) + written - local_mean(written, onsets_s)


def local_mean(velocities: Velocities, onsets_s: NDArray[np.float64]) -> Velocities:
    """Mean of each note's surroundings, as in `keep_accents`; onsets never go back."""
    reach_s = _CONTEXT_DEVIATIONS * ACCENT_CONTEXT_S
    firsts = np.searchsorted(onsets_s, onsets_s - reach_s, side="left")
    lasts = np.searchsorted(onsets_s, onsets_s + reach_s, side="right")
    means = np.empty(len(velocities))
    for note, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        distances = (onsets_s[first:last] - onsets_s[note]) / ACCENT_CONTEXT_S
        weights = np.exp(-0.5 * distances**2)
        means[note] = weights @ velocities[first:last] / weights.sum()
    return means


def match_quantiles(velocities: Velocities, reference: Velocities) -> Velocities:
    """Map so that the velocities are distributed like the reference's, keeping their order.

    A velocity that stands at some share of all velocities (equal ones in the middle of theirs)
    gets the one that stands at that share of the reference's.
    """
    ordered = np.sort(velocities)
    below = np.searchsorted(ordered, velocities, side="left")
    up_to = np.searchsorted(ordered, velocities, side="right")
    shares = 0.5 * (below + up_to) / max(len(velocities), 1)
    centres = (np.arange(len(reference)) + 0.5) / len(reference)
    matched: Velocities = np.interp(shares, centres, np.sort(reference))
    return matched


def parse_curve(text: str) -> Curve:
    """Read a curve such as ``20:30,64:64,110:100``: read velocity, colon, wanted velocity.

    Raises UsageError unless there are two points or more, with velocities of 1-127, of which
    the read ones rise and the wanted ones do not fall.
    """
    try:
        pairs = [tuple(float(number) for number in point.split(":")) for point in text.split(",")]
        points = tuple((read, wanted) for read, wanted in pairs)
    except ValueError:
        raise UsageError(
            f"--match {text}: this is neither a file nor a curve such as 20:30,64:64,110:100"
        ) from None
    if len(points) < 2:
        raise UsageError(f"--match {text}: a curve has two points or more, such as 20:30,110:100")
    _check_points(points, text)
    return Curve(points)


def _check_points(points: Sequence[tuple[float, float]], text: str) -> None:
    if not all(_LOWEST <= velocity <= _HIGHEST for point in points for velocity in point):
        raise UsageError(f"--match {text}: velocities lie in {_LOWEST}-{_HIGHEST}")
    for (read, wanted), (next_read, next_wanted) in pairwise(points):
        if next_read <= read or next_wanted < wanted:
            raise UsageError(
                f"--match {text}: from point to point the read velocity must rise, and the "
                "wanted one must not fall"
            )

"""Presses of the sustain pedal, divided where keys fall silent.

A press lasts while the pedal's frames reach a threshold, up to a peak of its offsets. A sound
that ends in it, of a key that nobody struck again, says that the pedal was up at that time, so
it is up there for a moment: a pedal lengthens no note. Times are in frames.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

LIFT_FRAMES = 0.5  # how long the pedal is up where a sound ends in a press
REST_FRAMES = 2  # how long a released pedal is up, at least, though its frames say nothing
SHORTEST_FRAMES = 4  # what is shorter is no press
RESTRUCK_FRAMES = 1.2  # a stroke of the same key so soon after an end took its place

Press = tuple[float, float]  # down, up


class PedalPresses:
    """Told of ends and strokes, then fed the same frames, it gives out what is decided.

    However the frames are cut, the presses are the same.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._now = 0
        self._down: float | None = None  # where what is left of the press begins
        self._begin = 0
        self._earliest = 0  # frame in which the next press may begin
        self._ends: list[tuple[float, int]] = []  # times in order, and their keys

    def sound_ended(self, at: float, key: int) -> None:
        """Tell of a key that fell silent."""
        insort(self._ends, (at, key))

    def struck(self, at: float, key: int) -> None:
        """Tell of a stroke, which takes the place of an end of its key just before."""
        recent = bisect_left(self._ends, (at - RESTRUCK_FRAMES, -1))
        self._ends[recent:] = [end for end in self._ends[recent:] if end[1] != key]

    def push(self, values: Iterable[tuple[float, bool, float]]) -> list[Press]:
        """Take the next frames: the pedal's value, whether its offset has a peak, and where."""
        presses: list[Press] = []
        for value, is_peak, shift in values:
            is_down = value >= self._threshold
            if self._down is not None and self._now > self._begin and (is_peak or not is_down):
                presses += self._released(self._now + shift)
                self._earliest = self._now + REST_FRAMES
            elif self._down is None and is_down and self._now >= self._earliest:
                self._begin, self._down = self._now, self._now
            self._now += 1
        # A stroke that takes the place of an end has its peak up to half a frame after it.
        presses += self._divided(self._now - 1 - RESTRUCK_FRAMES - 0.5)
        return presses

    def close(self) -> list[Press]:
        """End the press that has not ended with the last frame."""
        return [] if self._down is None else list(self._released(self._now))

    def _released(self, at: float) -> Iterator[Press]:
        yield from self._divided(at - RESTRUCK_FRAMES)
        assert self._down is not None
        yield from _long_enough(self._down, at)
        self._down = None

    def _divided(self, until: float) -> Iterator[Press]:
        """Yield what lies before the ends up to a time, and forget these."""
        decided = bisect_left(self._ends, (until, -1))
        for at, _ in self._ends[:decided]:
            if self._down is not None and at >= self._down - LIFT_FRAMES:
                yield from _long_enough(self._down, at)
                self._down = at + LIFT_FRAMES
        del self._ends[:decided]


def _long_enough(down: float, up: float) -> Iterator[Press]:
    if up - down >= SHORTEST_FRAMES:
        yield down, up

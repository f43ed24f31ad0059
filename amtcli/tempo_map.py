"""Which second is which tick of a MIDI file, and where its quarters and bars begin.

Without beats the tempo is constant and the meter 4/4. With beats, each of them begins a quarter
note, as on a page that a musician reads, and each downbeat begins a bar. Notes keep their
seconds: the tempo follows the beats, and ticks follow from seconds and tempo.

A file states a tempo in whole microseconds per quarter. Here a quarter begins on a whole
microsecond, counted from the start of the recording, and lasts until the next one begins. The
times that a reader adds up are therefore these very times, and no error grows with the recording.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from amtcli.notes import Beat

_TICKS_PER_QUARTER = 480
_QUARTER_AT_120_BPM_US = 500_000
_SHORTEST_QUARTER_US = 60_000  # 1000 BPM; what follows sooner is the same beat once more
# 15 BPM. The longest quarter sets the length of all ticks, and pretty_midi reads no file of more
# than ten million: with this one, 20 minutes at 120 BPM.
_LONGEST_QUARTER_US = 4_000_000
_LONGEST_BAR = 0xFF  # quarters: a file has one byte for a numerator
_USUAL_BAR = 4  # quarters, where nothing is known


@dataclass(frozen=True, slots=True)
class TempoMap:
    """The quarters of a file. The first begins at tick 0, which is second 0.

    ``starts_us`` is when each begins and ``quarters_us`` how long each lasts, in microseconds;
    the last one repeats without end. ``meters`` are pairs of a tick, at which a bar begins, and
    the number of quarters per bar from there on.
    """

    ticks_per_quarter: int
    starts_us: tuple[int, ...]
    quarters_us: tuple[int, ...]
    meters: tuple[tuple[int, int], ...]

    def ticks(self, time_s: float) -> int:
        """Nearest tick of ``time_s``; what lies before the recording moves to its start."""
        # float(): a NumPy float32 would carry its coarse steps through the product.
        time_us = float(time_s) * 1e6
        quarter = max(0, bisect_right(self.starts_us, time_us) - 1)
        since_us = time_us - self.starts_us[quarter]
        ticks = round(since_us * self.ticks_per_quarter / self.quarters_us[quarter])
        return max(0, quarter * self.ticks_per_quarter + ticks)

    def tempi(self) -> Iterator[tuple[int, int]]:
        """Pairs of a tick and the microseconds per quarter from there on, where these change."""
        last_us = 0
        for quarter, quarter_us in enumerate(self.quarters_us):
            if quarter_us != last_us:
                yield quarter * self.ticks_per_quarter, quarter_us
            last_us = quarter_us


def tempo_map(beats: Iterable[Beat], tempo_bpm: float) -> TempoMap:
    """Return the tempo map of the beats, which may come in any order.

    Two beats or more set the tempo, and ``tempo_bpm`` does not apply; else it is constant at
    ``tempo_bpm``, in 4/4. A beat less than 60 ms behind another is that one once more.

    Before the first beat lie whole quarters of about the length of the one behind it; behind the
    last beat its tempo goes on. An interval of more than 4 s becomes several equal quarters. The
    longest quarter sets the ticks per quarter, so that no tick exceeds 1.04 ms.

    A bar lasts from downbeat to downbeat, and behind the last one the meter goes on. Before the
    first downbeat, full bars of the first meter are counted backwards; what remains at the
    beginning is a shorter bar. Bars of more than 255 quarters are divided. Without a downbeat all
    is 4/4.
    """
    times = _distinct(beats)
    if len(times) < 2:
        # Ticks are reckoned from what the file states, not from the exact tempo.
        quarter_us = round(60e6 / tempo_bpm)
        return TempoMap(_ticks_per_quarter(quarter_us), (0,), (quarter_us,), ((0, _USUAL_BAR),))
    starts_us, beat_quarters = _quarters([time_us for time_us, _ in times])
    quarters_us = [end - start for start, end in pairwise(starts_us)]
    quarters_us.append(quarters_us[-1])
    downbeats = [
        quarter
        for quarter, (_, is_downbeat) in zip(beat_quarters, times, strict=True)
        if is_downbeat
    ]
    ticks_per_quarter = _ticks_per_quarter(max(quarters_us))
    meters = tuple((quarter * ticks_per_quarter, size) for quarter, size in _meters(downbeats))
    return TempoMap(ticks_per_quarter, tuple(starts_us), tuple(quarters_us), meters)


def _ticks_per_quarter(longest_us: int) -> int:
    # At most 30 times 480 (at 4 BPM), which the 15 bits of a file hold.
    return _TICKS_PER_QUARTER * math.ceil(longest_us / _QUARTER_AT_120_BPM_US)


def _distinct(beats: Iterable[Beat]) -> list[tuple[int, bool]]:
    """Each beat's microsecond and whether it is a downbeat, in order, far enough apart."""
    times: list[tuple[int, bool]] = []
    for beat in sorted(beats, key=lambda beat: beat.onset_s):
        time_us, is_downbeat = max(0, round(float(beat.onset_s) * 1e6)), bool(beat.is_downbeat)
        if times and time_us - times[-1][0] < _SHORTEST_QUARTER_US:
            time_us, was_downbeat = times.pop()
            is_downbeat = is_downbeat or was_downbeat
        times.append((time_us, is_downbeat))
    return times


def _quarters(beats_us: Sequence[int]) -> tuple[list[int], list[int]]:
    """When each quarter begins, up to the last beat, and which of them begin with a beat."""
    first_us = beats_us[0]
    beat_us = beats_us[1] - first_us
    beat_us //= _n_at_least(beat_us)
    n_before = max(round(first_us / beat_us), _n_at_least(first_us))
    starts_us, beat_quarters = _divided(0, first_us, n_before), []
    for start_us, end_us in pairwise(beats_us):
        beat_quarters.append(len(starts_us))
        starts_us += _divided(start_us, end_us, _n_at_least(end_us - start_us))
    beat_quarters.append(len(starts_us))
    return [*starts_us, beats_us[-1]], beat_quarters


def _n_at_least(interval_us: int) -> int:
    return math.ceil(interval_us / _LONGEST_QUARTER_US)


def _divided(start_us: int, end_us: int, n: int) -> list[int]:
    return [start_us + (end_us - start_us) * i // n for i in range(n)]


def _meters(downbeats: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pairs of a quarter and the quarters per bar from there on, where these change."""
    last_size = 0
    for start, size in _bars(downbeats):
        if size != last_size:
            yield start, size
        last_size = size


def _bars(downbeats: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First quarter and size of each bar, of which equal ones may be left out in between."""
    if len(downbeats) < 2:
        first, size = (downbeats or [0])[0], _USUAL_BAR
    else:
        first, size = downbeats[0], min(downbeats[1] - downbeats[0], _LONGEST_BAR)
    if first % size:
        yield 0, first % size
    yield first % size, size
    for start, end in pairwise(downbeats):
        for bar in range(start, end, _LONGEST_BAR):
            yield bar, min(end - bar, _LONGEST_BAR)

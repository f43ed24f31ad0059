"""Best path through scored intervals, and the joining of windows into one performance.

The decoder of a neural semi-Markov conditional random field (Yan, Cwitkowitz and Duan, NeurIPS
2021; Yan and Duan, ISMIR 2024): per symbol (a key or a pedal) a set of intervals that do not
overlap, the sum of whose scores is greatest. Windows overlap, and each starts decoding where the
events closed by the one before end, so an event cut by a window's end is decoded anew in the next.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from amtcli.notes import SOFT_PEDAL, SUSTAIN_PEDAL, Note, PedalSpan
from amtcli.windows import WindowSpec

SYMBOLS = (-SUSTAIN_PEDAL, -SOFT_PEDAL, *range(21, 109))
"""What each row of a window's intervals stands for: minus a controller, or a MIDI pitch."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals with a positive score in one window, one array entry each, in any order."""

    symbol: NDArray[np.int64]  # index into SYMBOLS
    begin: NDArray[np.int64]  # frame
    end: NDArray[np.int64]  # frame, >= begin
    score: NDArray[np.float32]  # > 0, against silence, which scores 0
    velocity: NDArray[np.int64]  # 0-127
    onset_shift: NDArray[np.float32]  # frames, -0.5 to 0.5
    offset_shift: NDArray[np.float32]
    has_onset: NDArray[np.bool_]  # matters only where the interval touches the window's edge
    has_offset: NDArray[np.bool_]

    def take(self, index: NDArray[np.int64]) -> Intervals:
        """Pick entries."""
        return Intervals(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True)
class SemiCrfConfig:
    """The clock of the frames that intervals are counted in."""

    sample_rate_hz: int
    hop_samples: int


@dataclass(frozen=True, slots=True)
class _Event:
    start_s: float
    end_s: float
    velocity: int
    confidence: float
    has_onset: bool
    has_offset: bool


class SemiCrfDecoder:
    """Feed it the windows of one recording in order; it gives out what is final."""

    def __init__(self, config: SemiCrfConfig, window: WindowSpec) -> None:
        self._rate_hz = config.sample_rate_hz
        self._hop_samples = config.hop_samples
        self._window = window
        self._next_index = 0
        first = window.padding_samples // config.hop_samples
        self._start_frames = [first] * len(SYMBOLS)
        self._events: list[list[_Event]] = [[] for _ in SYMBOLS]

    def feed(self, intervals: Intervals | None) -> list[Note | PedalSpan]:
        """Take the next window (None: one without any sound), return events that are final."""
        offset_s = self._window.start_samples(self._next_index) / self._rate_hz
        self._next_index += 1
        carry = [0] * len(SYMBOLS)
        for symbol, own in _by_symbol(intervals):
            carry[symbol] = self._feed_symbol(symbol, own, offset_s)
        hop_frames = self._window.hop_samples // self._hop_samples
        self._start_frames = [max(frame - hop_frames, 0) for frame in carry]
        return self._take_final(self._window.start_samples(self._next_index) / self._rate_hz)

    def close(self) -> list[Note | PedalSpan]:
        """End the recording: what is still open ends where it was last seen."""
        for events in self._events:
            if events:
                events[-1] = replace(events[-1], has_offset=True)
        return self._take_final(float("inf"))

    def _feed_symbol(self, symbol: int, intervals: Intervals, offset_s: float) -> int:
        """Decode one symbol of a window; returns the end frame of its last closed event."""
        start = self._start_frames[symbol]
        path = best_path(intervals.begin, intervals.end, intervals.score, start)
        events = self._to_events(intervals, path)
        for event in sorted(events, key=lambda e: (e.start_s, e.end_s)):
            _join(self._events[symbol], _shifted(event, offset_s))
        closed = [i for i, event in zip(path, events, strict=True) if event.has_offset]
        return int(intervals.end[closed[-1]]) if closed else 0

    def _to_events(self, intervals: Intervals, chosen: NDArray[np.int64]) -> list[_Event]:
        """Turn the path of one symbol into events with times within the window, in seconds."""
        frame_s = self._hop_samples / self._rate_hz
        last_frame = round(self._window.length_samples / self._hop_samples)
        events = []
        earliest_s = 0.0
        for i in chosen:
            begin, end = int(intervals.begin[i]), int(intervals.end[i])
            start_s = max((begin + float(intervals.onset_shift[i])) * frame_s, earliest_s)
            end_s = max((end + float(intervals.offset_shift[i])) * frame_s, start_s + 1e-8)
            earliest_s = end_s
            event = _Event(
                start_s=start_s,
                end_s=end_s,
                velocity=int(intervals.velocity[i]),
                confidence=_probability(float(intervals.score[i])),
                has_onset=begin > 0 or bool(intervals.has_onset[i]),
                has_offset=end < last_frame or bool(intervals.has_offset[i]),
            )
            events.append(event)
        return events

    def _take_final(self, next_start_s: float) -> list[Note | PedalSpan]:
        """Remove and return the events that no later window can change.

        A later window brings events that start with it at the earliest. They can replace or
        extend the last event of their symbol, and shorten the one before; nothing else.
        """
        final: list[Note | PedalSpan] = []
        for symbol, events in enumerate(self._events):
            n_final = len(events) if next_start_s == float("inf") else 0
            while n_final < len(events) - 1 and events[n_final].end_s <= next_start_s:
                n_final += 1
            while 0 < n_final < len(events) and _overlap(*events[n_final - 1 : n_final + 1]):
                n_final -= 1
            done = _without_overlaps(events[:n_final])
            del events[:n_final]
            final += [_to_note_or_pedal(SYMBOLS[symbol], event) for event in done]
        return final


def best_path(
    begin: NDArray[np.int64], end: NDArray[np.int64], score: NDArray[np.float32], start: int
) -> NDArray[np.int64]:
    """Choose the intervals of one symbol whose scores add up to most, from frame ``start`` on.

    Takes intervals with positive scores only (all others lose against silence, which scores
    0). Chosen intervals may share an end frame. Returns indices in order of time. Where two
    paths are worth the same, silence wins, then the earlier end.
    """
    order = np.lexsort((end, -begin))  # last begin first, so that what follows is known
    frames: list[int] = []  # frames at which something begins, descending
    values: list[float] = []  # best sum from that frame on
    steps: list[tuple[int, int]] = []  # interval to take there and single frame to take, or -1
    for frame, group in _groups(begin, order):
        value = values[-1] if values else 0.0
        taken, single, bonus = -1, -1, 0.0
        for i in group:
            last = int(end[i])
            if last == frame:
                single, bonus = int(i), float(score[i])
                continue
            candidate = float(score[i]) + _value_at(frames, values, last)
            if candidate > value:
                value, taken = candidate, int(i)
        frames.append(frame)
        values.append(value + bonus)
        steps.append((taken, single))
    return _trace(frames, steps, end, start)


def _groups(
    begin: NDArray[np.int64], order: NDArray[np.int64]
) -> list[tuple[int, NDArray[np.int64]]]:
    """Split an order of intervals into runs that share their begin frame."""
    if not len(order):
        return []
    cuts = np.flatnonzero(np.diff(begin[order])) + 1
    return [(int(begin[run[0]]), run) for run in np.split(order, cuts)]


def _value_at(frames: list[int], values: list[float], frame: int) -> float:
    """Best sum from ``frame`` on: that of the first begin at or after it (descending lists)."""
    n_after = bisect_left(frames, -frame, key=lambda f: -f)
    if n_after < len(frames) and frames[n_after] == frame:
        return values[n_after]
    return values[n_after - 1] if n_after else 0.0


def _trace(
    frames: list[int], steps: list[tuple[int, int]], end: NDArray[np.int64], start: int
) -> NDArray[np.int64]:
    """Walk the choices forward from ``start``."""
    path: list[int] = []
    frame = start
    for at in range(len(frames) - 1, -1, -1):
        if frames[at] < frame:
            continue
        taken, single = steps[at]
        if single >= 0:
            path.append(single)
        if taken >= 0:
            path.append(taken)
            frame = int(end[taken])
    return np.array(path, np.int64)


def _by_symbol(intervals: Intervals | None) -> Iterator[tuple[int, Intervals]]:
    """Split the intervals of a window by symbol."""
    if intervals is not None:
        order = np.argsort(intervals.symbol, kind="stable")
        for symbol, run in _groups(intervals.symbol, order):
            yield symbol, intervals.take(run)


def _shifted(event: _Event, offset_s: float) -> _Event:
    start_s = max(event.start_s + offset_s, 0.0)
    return replace(event, start_s=start_s, end_s=max(event.end_s + offset_s, start_s))


def _join(events: list[_Event], event: _Event) -> None:
    """Add an event to those of its symbol, or let it replace or extend the last of them."""
    last = events[-1] if events else None
    if last is None or event.start_s >= last.end_s:
        if event.has_onset:
            events.append(event)
    elif event.has_onset:
        events[-1] = event
    else:
        end_s = max(event.end_s, last.end_s)
        events[-1] = replace(last, end_s=end_s, has_offset=event.has_offset)


def _overlap(earlier: _Event, later: _Event) -> bool:
    return earlier.end_s > later.start_s


def _without_overlaps(events: list[_Event]) -> list[_Event]:
    """Drop events without an offset, cut what lasts into the next, drop what is left empty."""
    closed = sorted((e for e in events if e.has_offset), key=lambda e: (e.start_s, e.end_s))
    for i in range(len(closed) - 1):
        if _overlap(closed[i], closed[i + 1]):
            closed[i] = replace(closed[i], end_s=closed[i + 1].start_s)
    return [event for event in closed if event.start_s < event.end_s]


def _probability(score: float) -> float:
    """Probability of an interval against silence over the same frames, all else being fixed."""
    return 1 / (1 + math.exp(-score))


def _to_note_or_pedal(symbol: int, event: _Event) -> Note | PedalSpan:
    value = max(event.velocity, 1)  # a velocity of 0 would mean a release in MIDI
    if symbol < 0:
        return PedalSpan(event.start_s, event.end_s, -symbol, value)
    return Note(event.start_s, event.end_s, symbol, value, round(event.confidence, 6))

"""Labels of a window as arrays over frames and keys: pure functions that objectives share.

Positions are counted in frames, frame n at sample ``n * hop_samples`` of the window, and may lie
between two frames, before the window or behind it. Arrays are (frames, columns); a column is one
of the 88 keys, or the one of the sustain pedal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amtcli.datasets.labels import Labels
from amtcli.decoders.note_states import OFFSET, ONSET, REONSET, SUSTAIN
from amtcli.errors import DataError
from amtcli.notes import LOWEST_PITCH, N_KEYS

Floats = NDArray[np.float64]
Roll = NDArray[np.float32]

_ROUNDING_S = 1e-6  # what times may lose where they were scaled or stored


@dataclass(frozen=True)
class FrameGrid:
    """The frames of a window: one every ``hop_samples``, ``n_frames`` of them."""

    sample_rate_hz: int
    hop_samples: int
    n_frames: int

    @classmethod
    def over(cls, duration_s: float, sample_rate_hz: int, hop_samples: int) -> FrameGrid:
        """Lay frames over a window, one on its very end if that is where one falls."""
        n_hops = duration_s * sample_rate_hz / hop_samples
        return cls(sample_rate_hz, hop_samples, math.floor(n_hops + 1e-6) + 1)

    def frames(self, times_s: Floats) -> Floats:
        """Turn times within the window, in seconds, into positions."""
        return times_s * (self.sample_rate_hz / self.hop_samples)


@dataclass(frozen=True)
class NoteFrames:
    """The notes of a window, in order of onset, one entry each.

    ``onset``, ``release`` (key-up) and ``end`` are positions; ``end`` is what the targets take
    for the end of the note, and never lies behind the next onset of its key. ``restruck`` says
    that the key still sounded when it was struck. Keys count from 0, velocities are MIDI's.
    """

    onset: Floats
    release: Floats
    end: Floats
    key: NDArray[np.int64]
    velocity: NDArray[np.int64]
    restruck: NDArray[np.bool_]


def note_frames(labels: Labels, grid: FrameGrid, *, pedal_extends_notes: bool) -> NoteFrames:
    """Place notes on a grid; those off the keyboard are left out.

    With ``pedal_extends_notes`` a note ends when its sound does, otherwise with its key. Raises
    DataError where the data set knows no notes.
    """
    if labels.notes is None:
        raise DataError(
            "these targets are made of notes, and the data set knows none: leave it out"
        )
    key = labels.notes.pitch.astype(np.int64) - LOWEST_PITCH
    notes = labels.notes.select((key >= 0) & (key < N_KEYS))
    key = notes.pitch.astype(np.int64) - LOWEST_PITCH
    next_onset_s = _next_of_column(notes.onset_s, key)
    end_s = notes.sounding_end_s if pedal_extends_notes else notes.offset_s
    previous_end_s = _previous_of_column(end_s, key)
    return NoteFrames(
        onset=grid.frames(notes.onset_s),
        release=grid.frames(notes.offset_s),
        end=grid.frames(np.minimum(end_s, next_onset_s)),
        key=key,
        velocity=notes.velocity.astype(np.int64),
        restruck=previous_end_s >= notes.onset_s - _ROUNDING_S,
    )


def pedal_frames(labels: Labels, grid: FrameGrid) -> Floats:
    """Place presses of the sustain pedal on a grid: positions of onset and offset, (n, 2).

    Raises DataError where the data set knows no pedals.
    """
    if labels.pedals is None:
        raise DataError(
            "these targets are made of pedals, and the data set knows none: leave it out"
        )
    return grid.frames(labels.pedals.sustain())


def nearest(positions: Floats) -> NDArray[np.int64]:
    """Return the frames nearest to positions; halves go to the even one."""
    return np.rint(positions).astype(np.int64)


def cells(
    first: NDArray[np.int64], stop: NDArray[np.int64], n_frames: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the frames of spans ``first`` to ``stop`` - 1, as far as they lie within the window.

    Returns the frames, and for each the index of its span.
    """
    first = np.maximum(first, 0)
    lengths = np.maximum(np.minimum(stop, n_frames) - first, 0)
    span = np.repeat(np.arange(len(first)), lengths)
    before = np.cumsum(lengths) - lengths
    return np.arange(len(span)) - before[span] + first[span], span


def fill(
    roll: NDArray[np.generic],
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
    column: NDArray[np.int64],
    value: NDArray[np.generic] | int,
) -> None:
    """Write a value into the frames ``first`` to ``stop`` - 1 of a column, span after span."""
    frame, span = cells(first, stop, len(roll))
    values = np.broadcast_to(value, first.shape)
    roll[frame, column[span]] = values[span]  # of values for one cell the last one stays


def triangles(
    position: Floats, column: NDArray[np.int64], shape: tuple[int, int], half_width: float
) -> Roll:
    """Raise a triangle at each position: 1 at its top, 0 ``half_width`` frames away.

    Where two of one column meet the higher counts, which is that of the nearer position. Kong et
    al. (IEEE/ACM TASLP 2021), section III-B, is this with a half width of 50 ms.
    """
    roll = np.zeros(shape, np.float32)
    first = np.ceil(position - half_width).astype(np.int64)
    stop = np.floor(position + half_width).astype(np.int64) + 1
    frame, event = cells(first, stop, shape[0])
    height = 1 - np.abs(frame - position[event]) / half_width
    np.maximum.at(roll, (frame, column[event]), height.astype(np.float32))
    return roll


def published_triangles(
    position: Floats, column: NDArray[np.int64], shape: tuple[int, int], half_width: float
) -> Roll:
    """Raise triangles as Kong et al.'s program does, which their published weights learnt from.

    It has one defect: the rising side of every triangle but a column's first is placed by the
    distance between the event before it and that event's frame, so it is off by up to half a
    frame. Two triangles meet at the frame half way, and of events in one frame the last counts.
    """
    n_frames = shape[0]
    frame = nearest(position)
    here = np.flatnonzero((frame >= 0) & (frame < n_frames))
    frame, column, position = frame[here], column[here], position[here]
    order = np.lexsort((np.arange(len(frame)), frame, column))
    frame, column, position = frame[order], column[order], position[order]
    last = np.ones(len(frame), np.bool_)
    last[:-1] = (frame[1:] != frame[:-1]) | (column[1:] != column[:-1])
    frame, column, position = frame[last], column[last], position[last]

    off = position - frame
    follows = np.zeros(len(frame), np.bool_)
    follows[1:] = column[1:] == column[:-1]
    middle = (frame + np.roll(frame, 1)) // 2  # between an event and the one before it
    start = np.where(follows, middle, 0)
    stop = np.where(np.roll(follows, -1), np.roll(middle, -1), n_frames)
    rising_off = np.where(follows, np.roll(off, 1), off)

    reach = math.ceil(half_width) + 1
    cell, event = cells(
        np.maximum(start, frame - reach), np.minimum(stop, frame + reach + 1), n_frames
    )
    distance = cell - frame[event]
    away = np.abs(distance - np.where(distance < 0, rising_off[event], off[event]))
    roll = np.zeros(shape, np.float32)
    roll[cell, column[event]] = np.maximum(1 - away / half_width, 0)
    return roll


def note_states(notes: NoteFrames, n_frames: int, event_frames: int) -> NDArray[np.uint8]:
    """Say of every key in every frame in which of five states it is (``decoders.note_states``).

    Onsets and offsets last ``event_frames``. An onset is a re-onset where its key still sounded.
    The published programs differ in two things, both mistakes: a note that ends within its onset
    frames loses its onset to its offset there, and since they cut the earlier of two notes held
    by the pedal where the later one begins, before they ask whether it still sounds, they
    hardly ever write a re-onset.
    """
    onset = nearest(notes.onset)
    sustain = onset + event_frames
    offset = np.maximum(nearest(notes.end), sustain)
    states = np.zeros((n_frames, N_KEYS), np.uint8)
    fill(states, offset, offset + event_frames, notes.key, OFFSET)
    fill(states, sustain, offset, notes.key, SUSTAIN)
    kinds = np.where(notes.restruck, REONSET, ONSET)
    fill(states, onset, sustain, notes.key, kinds)
    return states


def velocities(notes: NoteFrames, n_frames: int) -> NDArray[np.uint8]:
    """Hold each note's MIDI velocity from its onset frame up to its end; 0 where none sounds."""
    onset = nearest(notes.onset)
    stop = np.maximum(nearest(notes.end), onset + 1)
    roll = np.zeros((n_frames, N_KEYS), np.uint8)
    fill(roll, onset, stop, notes.key, notes.velocity)
    return roll


def whole_notes_mask(notes: NoteFrames, n_frames: int) -> NDArray[np.bool_]:
    """Leave out of a loss the notes that the window cuts.

    False from the window's start to the end of a note that began before, and from the onset of
    a note whose key is still down at the window's end to that end.
    """
    mask = np.ones((n_frames, N_KEYS), np.bool_)
    onset = nearest(notes.onset)
    cut = onset < 0
    fill(mask, onset[cut], nearest(notes.end)[cut] + 1, notes.key[cut], False)
    held = notes.release > n_frames - 1
    fill(mask, onset[held], np.full(int(held.sum()), n_frames), notes.key[held], False)
    return mask


def _next_of_column(values: Floats, column: NDArray[np.int64]) -> Floats:
    """For each entry, the value of the next one in its column; infinity for the last."""
    return _shifted(values, column, 1, np.inf)


def _previous_of_column(values: Floats, column: NDArray[np.int64]) -> Floats:
    """For each entry, the value of the one before in its column; minus infinity for the first."""
    return _shifted(values, column, -1, -np.inf)


def _shifted(values: Floats, column: NDArray[np.int64], step: int, missing: float) -> Floats:
    order = np.argsort(column, kind="stable")[::step]
    result = np.full(len(values), missing)
    same = column[order[1:]] == column[order[:-1]]
    result[order[:-1][same]] = values[order[1:][same]]
    return result

"""The notes of a window as a network is told them, and what is random about them."""

from __future__ import annotations

import zlib

import numpy as np

from amtcli.datasets.labels import Labels
from amtcli.decoders.score_velocities import ScoreNotes
from amtcli.errors import DataError


def notes_of_labels(labels: Labels) -> ScoreNotes:
    """Take the labels of the notes on the keyboard. Raises DataError where none are known."""
    notes = labels.notes
    if notes is None:
        raise DataError(
            "these targets are made of notes, and the data set knows none: leave it out"
        )
    all_notes = ScoreNotes(
        notes.onset_s,
        notes.offset_s,
        notes.sounding_end_s,
        notes.pitch.astype(np.int64),
        notes.velocity.astype(np.int64),
    )
    return all_notes.select(all_notes.on_keyboard)


def generator_of(notes: ScoreNotes) -> np.random.Generator:
    """Return the source of what is random about a window's notes.

    It follows from them and their times: the same stretch of a recording at the same speed is
    altered in the same way, any other in another.
    """
    microseconds = np.rint(notes.onset_s * 1e6).astype("<i8")
    seeds = (zlib.crc32(microseconds.tobytes()), zlib.crc32(notes.pitch.astype("<i8").tobytes()))
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seeds)))

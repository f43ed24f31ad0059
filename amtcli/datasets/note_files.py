"""Labels from the files that data sets keep notes in: MIDI, and tables of notes."""

from __future__ import annotations

from pathlib import Path

from amtcli.datasets.labels import Labels, labels_of_performance
from amtcli.midi import MIDI_SUFFIXES
from amtcli.midi_reading import read_performance
from amtcli.note_tables import TABLE_SUFFIXES, is_table, read_table
from amtcli.notes import Performance

NOTE_SUFFIXES = MIDI_SUFFIXES | TABLE_SUFFIXES


def read_note_labels(path: Path) -> Labels:
    """Read a MIDI file or a label table. Raises MidiError or DataError where that cannot be."""
    return labels_of_performance(read_notes(path), knows_pedals=not is_table(path))


def read_notes(path: Path) -> Performance:
    """Read a MIDI file or a label table. Raises MidiError or DataError where that cannot be."""
    return read_table(path) if is_table(path) else read_performance(path)

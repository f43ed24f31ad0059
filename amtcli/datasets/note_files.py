"""Labels from the files that data sets keep notes in: MIDI, and tables of notes.

A file of beats may lie beside them; see `beat_files`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from amtcli.datasets.beat_files import beat_files_beside, read_beats_beside
from amtcli.datasets.labels import Labels, labels_of_performance
from amtcli.midi import MIDI_SUFFIXES
from amtcli.midi_reading import read_performance
from amtcli.note_tables import TABLE_SUFFIXES, is_table, read_table
from amtcli.notes import Performance

NOTE_SUFFIXES = MIDI_SUFFIXES | TABLE_SUFFIXES


def read_note_labels(path: Path) -> Labels:
    """Read a MIDI file or a label table, and the beats of a file beside it.

    Raises MidiError or DataError where that cannot be.
    """
    return labels_of_performance(read_notes(path), knows_pedals=not is_table(path))


def note_label_files(path: Path) -> tuple[Path, ...]:
    """Return all files that `read_note_labels` reads: this one, and one of beats beside it."""
    return (path, *beat_files_beside(path))


def read_notes(path: Path) -> Performance:
    """Read a MIDI file or a label table, and the beats of a file beside it.

    Raises MidiError or DataError where that cannot be.
    """
    performance = read_table(path) if is_table(path) else read_performance(path)
    return replace(performance, beats=read_beats_beside(path))

"""Labels from the files that data sets keep notes in: MIDI, and tables of notes.

A label table (``.tsv``) has onset s, offset s, MIDI note and velocity in columns, separated by
tabs, perhaps below a header line. Its offsets are taken as they are: such a table does not say
of pedals.
"""

from __future__ import annotations

import math
from pathlib import Path

from amtcli.datasets.labels import Labels, labels_of_performance
from amtcli.errors import DataError
from amtcli.midi import read_performance
from amtcli.notes import Note, Performance

MIDI_SUFFIXES = frozenset({".mid", ".midi"})
TABLE_SUFFIXES = frozenset({".tsv"})
NOTE_SUFFIXES = MIDI_SUFFIXES | TABLE_SUFFIXES


def read_note_labels(path: Path) -> Labels:
    """Read a MIDI file or a label table. Raises MidiError or DataError where that cannot be."""
    return labels_of_performance(read_notes(path), knows_pedals=not is_table(path))


def read_notes(path: Path) -> Performance:
    """Read a MIDI file or a label table. Raises MidiError or DataError where that cannot be."""
    return read_table(path) if is_table(path) else read_performance(path)


def is_table(path: Path) -> bool:
    """Tell by the name whether it is a label table, which knows no pedals."""
    return path.suffix.lower() in TABLE_SUFFIXES


def read_table(path: Path) -> Performance:
    """Read a label table. Raises DataError that names the line which is not what it should be."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a label table: {error}") from error
    rows = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if rows and _is_header(rows[0][1]):
        rows = rows[1:]
    notes = [_note(f"{path}, line {number}", line) for number, line in rows]
    return Performance(tuple(sorted(notes, key=lambda note: (note.onset_s, note.pitch))))


def _is_header(line: str) -> bool:
    try:
        [float(cell) for cell in line.split("\t")]
    except ValueError:
        return True
    return False


def _note(where: str, line: str) -> Note:
    try:
        onset_s, offset_s, pitch, velocity = (float(cell) for cell in line.split("\t"))
    except ValueError:
        raise DataError(
            f"{where}: expected onset, offset, note and velocity, separated by tabs, not "
            f"{line.strip()!r}"
        ) from None
    if not (0 <= onset_s <= offset_s and math.isfinite(offset_s)):
        raise DataError(f"{where}: a note from {onset_s:g} s to {offset_s:g} s cannot be")
    if not (pitch.is_integer() and 0 <= pitch <= 127 and 0 <= velocity <= 127):
        raise DataError(f"{where}: {pitch:g} and {velocity:g} are no MIDI note and velocity")
    return Note(onset_s, offset_s, int(pitch), round(velocity))

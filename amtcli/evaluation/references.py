"""Reading what is compared: MIDI files, and the label tables of the Onsets and Frames family.

Nothing odd in a file is dropped: notes without duration or outside the piano's keys still count,
and the notices say how many there are and where the first one is.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mido

from amtcli.midi import read_performance
from amtcli.note_tables import is_table, read_table
from amtcli.notes import SUSTAIN_PEDAL, Note, Performance

LOWEST_KEY, HIGHEST_KEY = 21, 108
DRUM_CHANNEL = 9
PEDAL_DOWN = 64  # what read_performance takes for a pressed pedal


@dataclass(frozen=True)
class NoteFile:
    """A performance and what was odd about its file."""

    performance: Performance
    n_zero_length: int
    n_out_of_range: int
    notices: tuple[str, ...]


def read_note_file(path: Path, pedal_threshold: int = PEDAL_DOWN) -> NoteFile:
    """Read a MIDI file or a label table; CC64 is down from ``pedal_threshold`` on.

    Raises
    ------
    MidiError
        A MIDI file cannot be read.
    DataError
        A table cannot, or one of its lines is not what it should be.
    """
    if is_table(path):
        return described(read_table(path))
    performance, n_tracks = _read_midi(path, pedal_threshold)
    merged = (f"the notes of {n_tracks} tracks are merged",) if n_tracks > 1 else ()
    return described(performance, merged)


def described(performance: Performance, notices: tuple[str, ...] = ()) -> NoteFile:
    """Count and name the odd notes of a performance."""
    empty = [note for note in performance.notes if note.offset_s <= note.onset_s]
    outside = [n for n in performance.notes if not LOWEST_KEY <= n.pitch <= HIGHEST_KEY]
    if not performance.notes:
        notices += ("there are no notes in it",)
    if empty:
        notices += (f"{_named(empty, 'without length')}, counted as notes of 1 ms",)
    if outside:
        notices += (f"{_named(outside, 'outside the 88 keys (21-108)')}, counted all the same",)
    return NoteFile(performance, len(empty), len(outside), notices)


def _named(notes: Sequence[Note], fault: str) -> str:
    plural = "s" if len(notes) > 1 else ""
    return f"{len(notes)} note{plural} {fault}, first {notes[0].pitch} at {notes[0].onset_s:.3f} s"


def _read_midi(path: Path, pedal_threshold: int) -> tuple[Performance, int]:
    """Read the performance and in how many tracks its notes lie."""
    performance = read_performance(path)
    data = path.read_bytes()
    midi = mido.MidiFile(file=io.BytesIO(data[data.index(b"MThd") :]))  # inside RIFF, perhaps
    if pedal_threshold != PEDAL_DOWN:
        performance = read_performance(_with_switched_pedal(midi, pedal_threshold))
    return performance, sum(any(_is_note(event) for event in track) for track in midi.tracks)


def _is_note(event: mido.Message) -> bool:
    return bool(event.type == "note_on" and event.velocity and event.channel != DRUM_CHANNEL)


def _with_switched_pedal(midi: mido.MidiFile, threshold: int) -> io.BytesIO:
    """Rewrite the sustain pedal to full or none, so that it is down from ``threshold`` on."""
    for track in midi.tracks:
        for event in track:
            if event.type == "control_change" and event.control == SUSTAIN_PEDAL:
                event.value = 127 if event.value >= threshold else 0
    file = io.BytesIO()
    midi.type = max(midi.type, 1)  # some files of format 0 have several tracks all the same
    midi.save(file=file)
    file.seek(0)
    return file

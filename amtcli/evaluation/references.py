"""Reading what is compared: MIDI files, and the label tables of the Onsets and Frames family.

Nothing odd in a file is dropped: notes without duration or outside the piano's keys still count,
and the notices say how many there are and where the first one is. Beats come from a file beside
the notes; see `amtcli.datasets.beat_files`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from amtcli.datasets.beat_files import read_beats_beside
from amtcli.midi_reading import PEDAL_DOWN, read_file, read_score
from amtcli.note_tables import is_table, read_table
from amtcli.notes import HIGHEST_PITCH, LOWEST_PITCH, Note, Performance


@dataclass(frozen=True)
class NoteFile:
    """A performance and what was odd about its file."""

    performance: Performance
    n_zero_length: int
    n_out_of_range: int
    notices: tuple[str, ...]


def read_note_file(path: Path, pedal_threshold: int = PEDAL_DOWN) -> NoteFile:
    """Read a MIDI file or a label table, and the beats of a file beside it.

    CC64 is down from ``pedal_threshold`` on.

    Raises
    ------
    MidiError
        A MIDI file cannot be read.
    DataError
        A table or the beats cannot, or one of their lines is not what it should be.
    """
    beats = read_beats_beside(path)
    if is_table(path):
        return described(replace(read_table(path), beats=beats))
    score = read_score(read_file(path), str(path), sustain_down_from=pedal_threshold)
    n_tracks = len({note.track for note in score.notes})
    merged = (f"the notes of {n_tracks} tracks are merged",) if n_tracks > 1 else ()
    return described(replace(score.performance(), beats=beats), merged)


def described(performance: Performance, notices: tuple[str, ...] = ()) -> NoteFile:
    """Count and name the odd notes of a performance."""
    empty = [note for note in performance.notes if note.offset_s <= note.onset_s]
    strikes = Counter((note.onset_s, note.pitch) for note in performance.notes)
    unisons = [n for n in performance.notes if strikes[n.onset_s, n.pitch] > 1]
    outside = [n for n in performance.notes if not LOWEST_PITCH <= n.pitch <= HIGHEST_PITCH]
    if not performance.notes:
        notices += ("there are no notes in it",)
    if empty:
        notices += (f"{_named(empty, 'without length')}, counted as notes of 1 ms",)
    if unisons:
        together = _named(unisons, "at the moment of another of its key")
        notices += (f"{together}, counted one by one: a piano has one string for both",)
    if outside:
        notices += (f"{_named(outside, 'outside the 88 keys (21-108)')}, counted all the same",)
    return NoteFile(performance, len(empty), len(outside), notices)


def _named(notes: Sequence[Note], fault: str) -> str:
    plural = "s" if len(notes) > 1 else ""
    return f"{len(notes)} note{plural} {fault}, first {notes[0].pitch} at {notes[0].onset_s:.3f} s"

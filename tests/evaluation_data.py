"""What the tests of the evaluation share: small performances and real ones with known faults."""

import tarfile
from dataclasses import replace

import numpy as np

from amtcli.evaluation.note_arrays import NoteArrays
from amtcli.midi import performance_to_midi_bytes
from amtcli.midi_reading import read_performance
from amtcli.notes import Note, Performance


def notes(*rows):
    """Rows of onset s, offset s, pitch and, perhaps, velocity, as a performance."""
    return Performance(tuple(Note(*row) if len(row) == 4 else Note(*row, 64) for row in rows))


def arrays(*rows):
    """Rows of onset s, offset s, pitch and, perhaps, velocity, as arrays."""
    table = np.array([row if len(row) == 4 else (*row, 64) for row in rows], float).reshape(-1, 4)
    return NoteArrays(table[:, :2], table[:, 2], table[:, 3])


def write_midi(path, performance):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(performance_to_midi_bytes(performance))
    return path


def write_table(path, performance):
    lines = ["# onset,offset,note,velocity"]
    lines += [
        f"{note.onset_s:.6f}\t{note.offset_s:.6f}\t{note.pitch}\t{note.velocity}"
        for note in performance.notes
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def melody(n_notes=20, seed=0):
    """A performance of its own for each seed: notes 0.25 s apart on random keys."""
    rng = np.random.default_rng(seed)
    return notes(
        *(
            (0.25 * k + 0.5, 0.25 * k + 0.6875, int(rng.integers(30, 90)), 40 + k)
            for k in range(n_notes)
        )
    )


def with_faults(performance, seed):
    """A plausible estimate: jittered, dropped, doubled and octave notes, other velocities."""
    rng = np.random.default_rng(seed)
    kept = []
    for note in performance.notes:
        if rng.random() < 0.06:
            continue
        onset_s = max(0.0, note.onset_s + rng.normal(0.004, 0.02))
        offset_s = max(onset_s + 0.01, note.offset_s + rng.normal(0, 0.06))
        velocity = int(np.clip(0.8 * note.velocity + rng.normal(12, 6), 1, 127))
        kept.append(Note(onset_s, offset_s, note.pitch, velocity))
        if rng.random() < 0.04:
            kept.append(replace(kept[-1], pitch=min(127, note.pitch + 12), velocity=30))
        if rng.random() < 0.04:
            kept.append(replace(kept[-1], onset_s=onset_s + 0.001))
    kept.sort(key=lambda note: (note.onset_s, note.pitch))
    return Performance(tuple(kept), performance.pedals)


def real_performances(archive_path, n_pieces):
    """The first performances of the asap archive."""
    found = []
    with tarfile.open(archive_path, "r|xz") as archive:
        for member in archive:
            if member.name.endswith(".mid"):
                found.append(read_performance(archive.extractfile(member)))
            if len(found) == n_pieces:
                break
    assert len(found) == n_pieces
    return found
